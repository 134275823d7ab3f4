"""The denoising loss at the end, on what was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class LossTrain(Metric):
    name = "loss_train"
    title = "loss, training"
    definition = "denoising loss on a fixed (x, t, eps) table, training pictures"
    unit = "mean square"
    bounds = (0.0, INF)
    higher_is_better = False
    source = "arXiv:2006.11239, eq. 14, on a table that is the same for every method"
    order = 200
    table = ""

    def score(self, f: Features) -> Score:
        return f.loss_train
