"""Does it show what was asked for? CLIP-T, where the extractors' space is CLIP's.

The plain cosine; CLIPScore (arXiv:2104.08718) scales it and cuts it at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import paired_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class Text(Metric):
    name = "text"
    title = "text"
    definition = "mean cosine of picture and prompt, identifier removed from the prompt"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "arXiv:2208.12242 (DreamBooth), section 4.2"
    order = 70
    digits = 3
    brief = True

    def score(self, f: Features) -> Score:
        return per_prompt(paired_cosine(f.cell.image, f.texts[:, None]))
