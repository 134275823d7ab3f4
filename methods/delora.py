"""DeLoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape


@register
@dataclass(frozen=True)
class DeLoRA(LowRankTuner):
    """LoRA whose rank-one parts all have the same size, a trained bound lambda over the rank.

    Bini, Girrbach, Akata, "Decoupling Angles and Strength in Low-rank Adaptation", ICLR 2025, arXiv:2503.18225. As peft
    does it, each input is weighted by the norm of its column of W.
    bound  lambda at the start
    """

    name = "delora"
    paper = "arXiv:2503.18225"
    config = "DeloraConfig"
    formula = "W' = W + (lambda / rank) B D A |W|, D = diag(1 / (|b_k| |a_k|))"
    packable = False  # peft adds up in place

    alpha: None = None
    bound: float = 15.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "delora_lambda": self.bound}

    def size(self, shape: Shape) -> int:
        return super().size(shape) + 1
