"""Super-Tuning, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape, Tuner


@register
@dataclass(frozen=True)
class Supertuning(Tuner):
    """Train the largest entries of each weight.

    Ilin, Zmushko, Richtarik, "Super-Tuning: From Activation-Aware Pruning to Sparse Fine-Tuning", 2026,
    arXiv:2607.09287; paper not read, as peft's tuner. Its low-rank addition is left out here.
    share  of the entries that are trained
    """

    name = "supertuning"
    paper = "arXiv:2607.09287"
    config = "SupertuningConfig"
    lr = 1e-3
    space = {"lr": (1e-5, 1e-2, "log"), "share": (0.0005, 0.5, "log")}
    size_field = "share"
    formula = "W' = W + S, S sparse at the largest |W|"

    share: float = 0.01

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"sparsity": 1 - self.share}

    def size(self, shape: Shape) -> int:
        return int(shape[0] * shape[1] * (1 - (1 - self.share)))  # rounded as peft rounds
