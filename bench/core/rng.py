"""A named random stream per purpose, so that no draw depends on what was drawn before it.

`rng("noise", task, seed)` is the same stream in every process, on every machine and for every method; torch's and
numpy's global streams are never touched.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch  # only for the type: the study draws its bootstraps from here and runs without torch

Key = str | int | float | bool | None


def seed_of(purpose: str, *keys: Key) -> int:
    """Seed in [0, 2**63) from the purpose and its keys; 1, "1", 1.0 and True are four different keys.

    Raises TypeError for a key whose text would not be the same in the next process (an object, a tensor).
    """
    for key in keys:
        if not isinstance(key, str | int | float | None):
            raise TypeError(f"a stream's key is text or a number, not {type(key).__name__}")
    text = json.dumps([purpose, *keys])
    # 63 bits, not 64: torch reads a seed as a signed integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(purpose: str, *keys: Key) -> torch.Generator:
    """CPU generator for one purpose, for example `rng("init", seed)`. Draw on the CPU, then move the tensor."""
    import torch

    return torch.Generator("cpu").manual_seed(seed_of(purpose, *keys))


def numpy_rng(purpose: str, *keys: Key) -> np.random.Generator:
    """The same for numpy: shuffles, bootstraps, drawings of the world."""
    return np.random.default_rng(seed_of(purpose, *keys))
