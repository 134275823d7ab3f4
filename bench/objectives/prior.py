"""Prior preservation: the concept's loss, plus the same loss on pictures that the frozen base made of the plain class.

Ruiz et al., "DreamBooth", CVPR 2023, arXiv:2208.12242, section 3.3 (λ = 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.objectives.batch import Batch
from bench.objectives.plain import plain

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network
    from bench.network.schedule import Schedule

WEIGHT = 1.0  # λ of the paper


def prior(net: Network, batch: Batch, schedule: Schedule) -> Tensor:
    """Loss per sample (B,): L_concept + λ L_class, float32. Raises ValueError without class pictures."""
    import torch

    from bench.network.calls import join

    if batch.classes is None:
        raise ValueError("the prior objective needs class pictures in its batch")
    mine, other = batch, batch.classes
    # one pass through the network for both halves: at these sizes a call costs more than its arithmetic
    both = Batch(
        x0=torch.cat([mine.x0, other.x0]),
        eps=torch.cat([mine.eps, other.eps]),
        t=torch.cat([mine.t, other.t]),
        context=join([mine.context, other.context]),
        weight=None if mine.weight is None or other.weight is None else torch.cat([mine.weight, other.weight]),
    )
    concept, kept = plain(net, both, schedule).split([len(mine.x0), len(other.x0)])
    return concept + WEIGHT * kept
