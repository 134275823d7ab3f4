"""How far the loss parts between pictures that were trained on and others."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class LossGap(Metric):
    name = "loss_gap"
    title = "loss gap"
    definition = "loss_heldout minus loss_train"
    unit = "mean square"
    bounds = (-INF, INF)
    higher_is_better = False
    source = "this project"
    order = 220
    table = ""

    def score(self, f: Features) -> Score:
        return None if f.loss_train is None or f.loss_heldout is None else f.loss_heldout - f.loss_train
