"""The zero of following: pictures beside prompts that they were not asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics._cosine import per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class TextMismatch(Metric):
    name = "text_mismatch"
    title = "text, other prompts"
    definition = "mean cosine of pictures and the task's other prompts: what following nothing scores"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = None
    source = "this project"
    order = 80
    table = ""

    def score(self, f: Features) -> Score:
        other = np.array([[a != b for b in f.plain] for a in f.plain])  # (P, P): two prompts may be the same words
        if not other.any(axis=1).all():
            return None
        cosines = per_prompt(f.cell.image @ f.texts.T)  # (P, n, P) -> (P, P)
        return (cosines * other).sum(axis=1) / other.sum(axis=1)
