"""The KID that chance alone stays below: a KID inside this band says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.rng import numpy_rng
from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features
from bench.metrics.kid import null_band, sets


@register
@dataclass(frozen=True)
class KidNull(Metric):
    name = "kid_null"
    title = "KID by chance"
    definition = "95 % of KIDs between two sets of one distribution stay below"
    unit = "squared MMD"
    bounds = (-INF, INF)
    higher_is_better = None
    source = "this project, a permutation test"
    order = 190
    table = ""
    sampled = True

    draws: int = 200
    level: float = 0.95

    def score(self, f: Features) -> Score:
        found = sets(f)
        return null_band(found[0], found[1], numpy_rng("kid null"), found[2], self.draws, self.level) if found else None
