"""Does every dog become this dog? Language drift of DreamBooth, arXiv:2208.12242, section 3.3, as one number."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import mean_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class PriorLeak(Metric):
    name = "prior_leak"
    title = "prior leak"
    definition = "concept score of plain class prompts, minus the frozen base's: how far the class became the concept"
    unit = "cosine"
    bounds = (-2.0, 2.0)
    higher_is_better = False
    source = "this project"
    order = 110

    def score(self, f: Features) -> Score:
        if f.prior is None or f.base_prior is None:
            return None
        refs = f.train.concept(f.kind)
        tuned, base = (mean_cosine(v.concept(f.kind), refs) for v in (f.prior, f.base_prior))
        return per_prompt(tuned - base)
