"""pocket: the world's own evaluators, weights beside the pocket base."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors import pocket
from bench.extractors.base import Extractors
from bench.extractors.registry import EXTRACTORS, ExtractorsSource


@EXTRACTORS.register
@dataclass(frozen=True)
class Pocket(ExtractorsSource):
    """Networks of its world's things, styles and words, trained apart from the base."""

    name = "pocket"
    title = "the pocket world's own, for the pocket base"
    published = False

    def load(self) -> Extractors:
        return pocket.load()

    def digest(self) -> str:
        return pocket.digest()
