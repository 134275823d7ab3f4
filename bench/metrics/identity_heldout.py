"""Is it the subject, or only its training pictures?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._concept import to_heldout
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class IdentityHeldout(Metric):
    name = "identity_heldout"
    title = "identity, held out"
    definition = "the same to pictures of the subject that were not trained on"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 30
    kinds = ("subject",)
    table = ""

    def score(self, f: Features) -> Score:
        return to_heldout(f)
