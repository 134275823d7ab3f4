"""What a metric is: one class with its card and its formula, registered by name. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.metrics.features import Features
from bench.plugin.registry import Part, Registry

INF = float("inf")
KINDS = ("subject", "style")
TABLES = ("main", "details", "")

# A value per prompt (P,), nan where a prompt asks for nothing; or one number; or None where it is not defined.
Score = np.ndarray | float | None

# Columns that a tidy frame has beside the scores (bench.study.frame): no metric may be called so.
RESERVED = frozenset((
    "key", "row", "spec", "method", "trained", "lr", "objective", "base", "task", "kind", "seed", "status", "failed",
    "machine", "workers", "threads", "copies", "concept_norm", "follow_norm", "headline",
))  # fmt: skip


@dataclass(frozen=True)
class Metric(Part):
    """One score and its card. Hyperparameters are fields; a protocol may ask for other values of them."""

    title: ClassVar[str]  # head of its column; an arrow is added where lower is better
    definition: ClassVar[str]  # what it measures, in one line
    unit: ClassVar[str]
    bounds: ClassVar[tuple[float, float]] = (-INF, INF)
    higher_is_better: ClassVar[bool | None] = None  # None: it describes, nobody should be ranked by it
    source: ClassVar[str] = ""  # paper and section, or who defined it
    version: ClassVar[int] = 1  # raised when its numbers change
    kinds: ClassVar[tuple[str, ...]] = KINDS  # kinds of task that it is defined for
    # Its place in the tables: the leaderboard ("main"), the second table ("details"), or CSV and page data alone ("").
    table: ClassVar[str] = "details"
    order: ClassVar[int] = 1000  # smaller ones come first, in records, lists and tables
    digits: ClassVar[int] = 2
    drop: ClassVar[int] = 9  # of "main": where a terminal is too narrow, the highest numbers are left out first
    brief: ClassVar[bool] = False  # printed by `litmus run` too
    # How it is called and computed.
    family: ClassVar[str] = ""  # name of a text field: `attribute` with part = "scene" is called `attribute_scene`
    sampled: ClassVar[bool] = False  # holds random draws, so that the order of the prompts moves it a little
    sees: ClassVar[str] = "features"  # or "pictures": scored by bench.evaluation.pictures

    def score(self, f: Features) -> Score:
        """The value of a cell: per prompt (P,), which is averaged, or one number; None where it is not defined."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures: write score(self, f)")

    def members(self, f: Features) -> Sequence[Metric]:
        """What there is to score in a cell: itself, and of a family each member that the cell has."""
        return (self,)

    @property
    def spec(self) -> str:
        """Its name in records: `kid`, `kid_null[draws=500]`, `attribute_scene`."""
        if self.family and (member := getattr(self, self.family)):
            return f"{self.name}_{member}"
        return super().spec

    @property
    def heading(self) -> str:
        """Head of its column: title, member or settings, and ↓ where lower is better."""
        more = self.spec.removeprefix(self.name).lstrip("_")
        return self.title + (f" {more}" if more else "") + (" ↓" if self.higher_is_better is False else "")


METRICS: Registry[Metric] = Registry(
    "metric", "bench.metrics", ("name", "title", "definition", "unit"), "litmus metrics"
)
register = METRICS.register  # the class decorator
