"""Toy siblings of the families: the true classes, tiny and with random weights (Family.toy).

Each is frozen, in eval mode, and takes x (B, C, 8, 8), t (B,), context (B, L, 16) through Network.forward. Built on the
default device, so `with torch.device("meta")` gives shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bench.families import FAMILIES
from bench.families.pieces import drawn, frozen
from bench.method import Network
from bench.plugin.view import View


def _transformers() -> dict[str, Callable[[], nn.Module]]:
    return {one.name: one.toy for one in FAMILIES.known() if one.denoiser == "transformer"}


TRANSFORMERS = View(_transformers)  # those of transformers: SD 3, PixArt, FLUX.1, FLUX.2


def toy_transformer(kind: str = "sd3", seed: int = 0) -> Network:
    """Denoiser only, of the family `kind`, U-Nets included. LitmusError with the nearest name for an unknown one."""
    return frozen(Network(drawn(FAMILIES.find(kind)().toy, f"toy {kind}", seed)))
