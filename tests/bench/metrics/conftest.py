"""A registry that forgets, and a metric file from outside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

CLOSEST = '''
"""Closest: how near the best picture of each prompt comes to the training pictures."""

from dataclasses import dataclass

from bench.metrics import Metric, register


@register
@dataclass(frozen=True)
class Closest(Metric):
    name = "closest"
    title = "closest"
    definition = "largest cosine of a prompt's pictures to a training picture"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = False
    source = "a test"

    power: int = 1

    def score(self, f):
        refs = f.train.concept(f.kind)
        return (f.cell.concept(f.kind) @ refs.T).max(axis=(1, 2)) ** self.power
'''


@pytest.fixture
def metrics():
    """The registry; what a test registers is forgotten after it."""
    from bench.metrics import METRICS

    METRICS.load()
    with METRICS.kept():
        yield METRICS


@pytest.fixture
def outside_file(tmp_path, metrics) -> Path:
    path = tmp_path / "closest.py"
    path.write_text(CLOSEST, encoding="utf-8")
    return path
