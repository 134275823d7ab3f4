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

    Only for objectives whose `needs` ask for it:
    classes         pictures of the plain class, made by the frozen base: a batch of needs.classes * B
    memory          pictures of the objective's own prompts, made by the frozen base: a batch of needs.memory * B
    frozen_context  the captions as the frozen base's own text side reads them, for its prediction; it differs from
                    `context` where a method trains the text side
    """

    x0: Tensor
    eps: Tensor
    t: Tensor
    context: Text
    classes: Batch | None = None
    weight: Tensor | None = None
    memory: Batch | None = None
    frozen_context: Text | None = None
