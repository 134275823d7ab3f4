"""HRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import LINEAR_CONV, Shape, Tuner


@register
@dataclass(frozen=True)
class HRA(Tuner):
    """A chain of trained reflections of each layer's input.

    Yuan, Liu, Xu, "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
    NeurIPS 2024, arXiv:2405.17484. Neighbouring pairs start alike and cancel, so an odd rank does not start
    at the base.
    """

    name = "hra"
    paper = "arXiv:2405.17484"
    config = "HRAConfig"
    kinds = LINEAR_CONV
    lr = 2e-3
    space = {"lr": (1e-4, 2e-2, "log"), "rank": (2, 64, "log")}
    size_field = "rank"
    formula = "W' = W prod_k (I - 2 u_k u_k^T / |u_k|^2)"

    rank: int = 8

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.rank % 2 == 0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}

    def size(self, shape: Shape) -> int:
        return self.rank * shape[1]
