"""Is it drawn in the style? All pairs of generated and training pictures."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._concept import to_training
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class Style(Metric):
    name = "style"
    title = "style"
    definition = "mean cosine of the pictures to the training pictures, style encoder"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "arXiv:2208.12242 (DreamBooth), section 4.2, with a style encoder"
    order = 40
    kinds = ("style",)
    table = ""
    brief = True

    def score(self, f: Features) -> Score:
        return to_training(f)
