"""The score that a task is about, under one name: identity of a subject, style of a style."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._concept import to_training
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class Concept(Metric):
    name = "concept"
    title = "identity or style"
    definition = "identity for subject tasks, style for style tasks"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 10

    def score(self, f: Features) -> Score:
        return to_training(f)
