"""Are pictures of the plain class what they were?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import paired_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class PriorPreservation(Metric):
    name = "prior_preservation"
    title = "prior kept"
    definition = "cosine of plain class pictures to the frozen base's, same prompt and noise"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 120

    def score(self, f: Features) -> Score:
        if f.prior is None or f.base_prior is None:
            return None
        return per_prompt(paired_cosine(f.prior.image, f.base_prior.image))
