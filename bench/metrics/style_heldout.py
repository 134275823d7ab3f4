"""Is it the style, or only its training pictures?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._concept import to_heldout
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class StyleHeldout(Metric):
    name = "style_heldout"
    title = "style, held out"
    definition = "the same to pictures in the style that were not trained on"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 50
    kinds = ("style",)
    table = ""

    def score(self, f: Features) -> Score:
        return to_heldout(f)
