"""toy: random projections, for tests."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors import toy
from bench.extractors.base import Extractors
from bench.extractors.registry import EXTRACTORS, ExtractorsSource


@EXTRACTORS.register
@dataclass(frozen=True)
class Toy(ExtractorsSource):
    """Fixed numbers without meaning, in no time."""

    name = "toy"
    title = "random numbers, for tests"
    published = False

    def load(self) -> Extractors:
        return toy.load()

    def digest(self) -> str:
        return toy.DIGEST
