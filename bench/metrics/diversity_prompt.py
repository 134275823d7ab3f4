"""How different are the pictures of one prompt?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.diversity import vendi
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class DiversityPrompt(Metric):
    name = "diversity_prompt"
    title = "diversity, one prompt"
    definition = "Vendi score of the pictures of one prompt, mean over prompts"
    unit = "pictures"
    bounds = (1.0, INF)
    higher_is_better = None
    source = "arXiv:2210.02410, eq. 2"
    order = 160
    table = ""

    def score(self, f: Features) -> Score:
        return np.array([vendi(x) for x in f.cell.image]) if f.cell.image.shape[1] > 1 else None
