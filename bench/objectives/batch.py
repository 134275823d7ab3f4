"""What an objective is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from bench.network.calls import Text


@dataclass(frozen=True)
class Batch:
    """One training batch, everything drawn beforehand.

    x0 (B, C, h, w) scaled clean latents; eps (B, C, h, w) noise; t (B,) times; context what the denoiser is told of
    the captions. `weight` (B,) multiplies each sample's loss where it is given (min-SNR).
    `classes` holds as many pictures of the plain class, made by the frozen base, for objectives that ask for them.
    """

    x0: Tensor
    eps: Tensor
    t: Tensor
    context: Text
    classes: Batch | None = None
    weight: Tensor | None = None
