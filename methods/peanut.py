"""PEANuT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape


@register
@dataclass(frozen=True)
class PEANuT(LowRankTuner):
    """A small network that reads each input's column of the weight and gives what is added to it.

    Zhong, Jiang, Li, Nakada, Liu, Zhang, Yao, Wang, "PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural
    Tweakers", 2024, arXiv:2410.01870; paper not read, as peft's tuner.
    depth  pairs of (rank, rank) layers between A (rank, out) and B (out, rank); peft's and our default is none
    """

    name = "peanut"
    paper = "arXiv:2410.01870"
    config = "PeanutConfig"
    formula = "W' = W + scale B relu(A W)"

    alpha: None = None
    depth: int = 0
    scale: float = 1.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "depth": self.depth, "scaling": self.scale}

    def size(self, shape: Shape) -> int:
        return 2 * self.rank * shape[0] + 2 * self.depth * self.rank**2
