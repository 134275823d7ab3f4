"""The plain denoising loss: mean squared error of the prediction, every time weighted alike.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239, eq. 14; with the target
of the schedule's own kind (eps, v, flow). With weights in the batch (min-SNR) each sample's error is multiplied by its.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.objectives.base import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network
    from bench.network.schedule import Schedule
    from bench.objectives.batch import Batch


def plain(net: Network, batch: Batch, schedule: Schedule) -> Tensor:
    """Loss per sample (B,), float32."""
    xt = schedule.add_noise(batch.x0, batch.eps, batch.t)  # (B, C, h, w)
    prediction = net(xt, batch.t, batch.context)
    target = schedule.target(batch.x0, batch.eps, batch.t)
    loss = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    return loss if batch.weight is None else loss * batch.weight


@register
@dataclass(frozen=True)
class Plain(Objective):
    """Mean squared error of the prediction on the concept's own pictures."""

    name = "plain"
    paper = "arXiv:2006.11239, eq. 14"
    formula = "L = |net(x_t, t, c) - target|^2"
    plain_scale = True

    def loss(self, net: Network, batch: Batch, schedule: Schedule, frozen: Network | None = None) -> Tensor:
        return plain(net, batch, schedule)
