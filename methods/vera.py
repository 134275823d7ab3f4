"""VeRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape, Tuner


@register
@dataclass(frozen=True)
class VeRA(Tuner):
    """LoRA with frozen random A and B that all layers share; a layer trains a scale for each of their rows.

    Kopiczko, Blankevoort, Asano, "VeRA: Vector-based Random Matrix Adaptation", ICLR 2024, arXiv:2310.11454. d (rank,)
    starts at 0.1, b (out,) at 0. Mostly out counts, so rank is a weak measure of size.
    """

    name = "vera"
    paper = "arXiv:2310.11454"
    config = "VeraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "rank": (16, 1024, "log")}
    size_field = "rank"
    formula = "W' = W + diag(b) B diag(d) A"

    rank: int = 256
    projection_seed: int = 0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "projection_prng_key": self.projection_seed}

    def size(self, shape: Shape) -> int:
        return shape[0] + self.rank
