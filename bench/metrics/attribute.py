"""One attribute that prompts ask for: `attribute_scene`, `attribute_colour`, ..., as many as the classifiers know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


def attribute(f: Features, name: str) -> Score:
    """Share of the pictures that show what their prompt asks of the attribute `name`; nan where it asks nothing."""
    if name not in f.cell.seen:
        return None
    asked = [asks.get(name) for asks in f.asks]
    if not any(asked):
        return None
    hits = [np.mean(seen == word) if word else np.nan for seen, word in zip(f.cell.seen[name], asked, strict=True)]
    return np.array(hits)


def attribute_names(f: Features) -> list[str]:
    """Attributes that some prompt asks for and the classifiers know."""
    return sorted({name for asks in f.asks for name in asks} & f.cell.seen.keys())


@register
@dataclass(frozen=True)
class Attribute(Metric):
    name = "attribute"
    title = "attribute"
    definition = "share of the pictures that show what their prompt asks of one part: class, scene, colour, style"
    unit = "share"
    bounds = (0.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 230
    table = ""
    family = "part"

    part: str = ""

    def score(self, f: Features) -> Score:
        return attribute(f, self.part)

    def members(self, f: Features) -> Sequence[Metric]:
        return (self,) if self.part else [Attribute(name) for name in attribute_names(f)]
