"""What a training run is given beside the task's own pictures, where its objective asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network


@dataclass(frozen=True)
class Pictures:
    """Pictures that the frozen base made: scaled latents (K, C, h, w) and the K prompts that they were made of."""

    latents: Tensor
    prompts: list[str]


@dataclass(frozen=True)
class Extras:
    """What `bench.objectives.Needs` may ask for; bench.evaluation.references.extras draws it.

    classes  pictures of the plain class
    memory   pictures of the objective's own prompts
    frozen   the base's own network, untouched, on the device that is trained on; shared, never copied per step
    """

    classes: Pictures | None = None
    memory: Pictures | None = None
    frozen: Network | None = None
