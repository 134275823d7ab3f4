"""What an objective is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch, everything drawn beforehand.

    x0 (B, C, h, w) scaled clean latents; eps (B, C, h, w) noise; t (B,) int64 times; context (B, L, D) text states.
    `classes` holds as many pictures of the plain class, made by the frozen base, for objectives that ask for them.
    """

    x0: Tensor
    eps: Tensor
    t: Tensor
    context: Tensor
    classes: Batch | None = None
