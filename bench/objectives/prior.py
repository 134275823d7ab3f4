"""Prior preservation: the concept's loss, plus the same loss on pictures that the frozen base made of the plain class.

Ruiz et al., "DreamBooth", CVPR 2023, arXiv:2208.12242, section 3.3 (λ = 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError
from bench.objectives.base import Needs, Objective, register
from bench.objectives.batch import Batch
from bench.objectives.plain import plain

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network
    from bench.network.schedule import Schedule


@register
@dataclass(frozen=True)
class Prior(Objective):
    """The plain loss on the concept's pictures, plus `weight` (λ) times that on pictures of the plain class."""

    name = "prior"
    paper = "arXiv:2208.12242, section 3.3"
    formula = "L = L_plain(concept) + weight * L_plain(class)"
    needs = Needs(classes=1)

    weight: float = 1.0  # λ of the paper

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise LitmusError(f"prior: weight must be above 0, not {self.weight:g}: without it the objective is plain")

    @property
    def plain_scale(self) -> bool:  # type: ignore[override]
        return self.weight <= 1

    def loss(self, net: Network, batch: Batch, schedule: Schedule, frozen: Network | None = None) -> Tensor:
        import torch

        from bench.network.calls import join

        mine, other = batch, batch.classes
        assert other is not None  # declared in `needs`, hence looked for before
        # one pass through the network for both halves: at these sizes a call costs more than its arithmetic
        both = Batch(
            x0=torch.cat([mine.x0, other.x0]),
            eps=torch.cat([mine.eps, other.eps]),
            t=torch.cat([mine.t, other.t]),
            context=join([mine.context, other.context]),
            weight=None if mine.weight is None or other.weight is None else torch.cat([mine.weight, other.weight]),
        )
        concept, kept = plain(net, both, schedule).split([len(mine.x0), len(other.x0)])
        return concept + self.weight * kept
