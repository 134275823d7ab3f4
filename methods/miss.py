"""MiSS, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import LINEAR, Shape, Tuner, divisor, one_of


@register
@dataclass(frozen=True)
class MiSS(Tuner):
    """One small matrix D that all pieces of the weight's input share; Bone and its block-affine form live here too.

    Kang, Yin, "MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure", 2024,
    arXiv:2409.15371 (title of version 12); earlier versions, by Kang alone, call it Bone, "Block-Affine Adaptation".
    rank  rows of D: the input is cut into pieces of that length
    form  plain: D (rank, out), peft's default and Bone's plain form; bat: D (out / rank, rank, rank) times each tile
          of W, the block-affine form, rank being the largest divisor of both sides not above the one given;
          mini: D (rank, mini) repeated along out
    mini  columns of D in the form mini; the largest divisor of out not above it
    """

    name = "miss"
    paper = "arXiv:2409.15371"
    config = "MissConfig"
    kinds = LINEAR
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "plain: W'[:, k] = W[:, k] + D^T; bat: W'[j, k] = W[j, k] + W[j, k] D_j + D_j"

    rank: int = 8
    form: str = "plain"
    mini: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "form", ("plain", "bat", "mini"))

    def _rank(self, shape: Shape) -> int:
        return divisor(self.rank, *shape) if self.form == "bat" else min(self.rank, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        start = True if self.form == "plain" else self.form
        return {"r": self._rank(shape), "init_weights": start, "mini_r": divisor(self.mini, shape[0])}

    def size(self, shape: Shape) -> int:
        return self._rank(shape) * (divisor(self.mini, shape[0]) if self.form == "mini" else shape[0])
