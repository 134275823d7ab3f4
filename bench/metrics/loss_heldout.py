"""The denoising loss at the end, on pictures of the concept that were not trained on."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class LossHeldout(Metric):
    name = "loss_heldout"
    title = "loss, held out"
    definition = "the same on held-out pictures, same t and eps"
    unit = "mean square"
    bounds = (0.0, INF)
    higher_is_better = False
    source = "arXiv:2006.11239, eq. 14, on a table that is the same for every method"
    order = 210
    table = ""

    def score(self, f: Features) -> Score:
        return f.loss_heldout
