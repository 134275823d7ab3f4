"""toy: random numbers in the true classes, for tests and trials."""

from __future__ import annotations

from dataclasses import dataclass

from bench.bases.base import Base
from bench.bases.registry import BASES, BaseSource


@BASES.register
@dataclass(frozen=True)
class Toy(BaseSource):
    """32 x 32 px of noise, made in memory in a moment."""

    name = "toy"
    title = "random numbers, for tests"
    extractors = "pocket"
    open_words = False

    def load(self) -> Base:
        from bench.bases.toy import toy_base

        return toy_base()

    def card(self) -> dict[str, str]:
        return {"resolution": "32", "denoiser": "UNet2DConditionModel", "licence": "none: random numbers"}
