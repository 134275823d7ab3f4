"""GLoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape, shape_of


@register
@dataclass(frozen=True)
class GLoRA(LowRankTuner):
    """Low-rank factors that scale the weight and add to it, and, where there is a bias, that move the bias.

    Chavan, Liu, Gupta, Xing, Shen, "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", 2023,
    arXiv:2306.07967. A, B low-rank, C low-rank, D and E a number each, which are peft's defaults.
    """

    name = "glora"
    paper = "arXiv:2306.07967"
    config = "GloraConfig"
    formula = "W' = W + W * A + B, b' = b + D b + E + W C"

    rank: int = 2
    alpha: None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}

    def cost(self, layer: Any) -> int:
        out, in_ = shape_of(layer)
        bias = self.rank * (in_ + 1) + 2 if layer.bias is not None else 0
        return 2 * self.rank * (out + in_) + bias
