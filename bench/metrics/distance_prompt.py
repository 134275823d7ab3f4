"""How far apart the pictures of one prompt are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


def pairwise_distance(x: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of unit features `x` (n, D), n >= 2; in [0, 2]."""
    n = len(x)
    return float(1 - ((x @ x.T).sum() - np.square(x).sum()) / (n * (n - 1)))


@register
@dataclass(frozen=True)
class DistancePrompt(Metric):
    name = "distance_prompt"
    title = "distance, one prompt"
    definition = "mean pairwise distance of the pictures of one prompt"
    unit = "1 - cosine"
    bounds = (0.0, 2.0)
    higher_is_better = None
    source = "after DIV of arXiv:2208.12242 (DreamBooth), a cosine in place of LPIPS"
    order = 170
    table = ""

    def score(self, f: Features) -> Score:
        return np.array([pairwise_distance(x) for x in f.cell.image]) if f.cell.image.shape[1] > 1 else None
