"""Did what the training pictures show come along with their style?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import nearest_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class ContentLeak(Metric):
    name = "content_leak"
    title = "content leak"
    definition = (
        "style tasks: identity cosine to the nearest training picture, minus the frozen base's on the same prompts"
    )
    unit = "cosine"
    bounds = (-2.0, 2.0)
    higher_is_better = False
    source = "this project"
    order = 130
    kinds = ("style",)

    def score(self, f: Features) -> Score:
        refs = f.train.identity
        mine, base = (per_prompt(nearest_cosine(v.identity, refs)) for v in (f.cell, f.base_cell))
        return mine - base
