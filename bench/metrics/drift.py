"""How far did pictures move that have nothing to do with the concept?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import paired_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class Drift(Metric):
    name = "drift"
    title = "drift"
    definition = "distance of pictures of unrelated prompts from the frozen base's, same prompt and noise"
    unit = "1 - cosine"
    bounds = (0.0, 2.0)
    higher_is_better = False
    source = "this project"
    order = 140
    table = "main"
    drop = 7
    brief = True

    def score(self, f: Features) -> Score:
        if f.drift is None or f.base_drift is None:
            return None
        return per_prompt(1 - paired_cosine(f.drift.image, f.base_drift.image))
