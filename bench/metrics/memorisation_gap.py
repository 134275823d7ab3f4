"""Did it learn the concept, or the pictures of it?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._concept import to_heldout, to_training
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class MemorisationGap(Metric):
    name = "memorisation_gap"
    title = "memorisation"
    definition = "concept to the training minus concept to the held-out pictures; above 0: it learnt the pictures"
    unit = "cosine"
    bounds = (-2.0, 2.0)
    higher_is_better = False
    source = "this project"
    order = 100
    digits = 3

    def score(self, f: Features) -> Score:
        heldout = to_heldout(f)
        return None if heldout is None else to_training(f) - heldout
