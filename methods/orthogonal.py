"""LoRA with an orthogonal start, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import LINEAR, Shape


@register
@dataclass(frozen=True)
class Orthogonal(LowRankTuner):
    """LoRA whose A and B both start at random, but in directions that cancel: B A = 0 and W stays whole.

    peft's `orthogonal` start, which has no paper (peft names https://datta0.github.io/posts/rethink-lora-init): the
    rows of a random orthogonal matrix are dealt out, every other one to A and to B. The rank is taken up to the next
    even number.
    """

    name = "orthogonal"
    paper = "none: peft's start of that name"
    formula = "W' = W + (alpha / rank) B A; A0 = (N1 Q[0::2])^T, B0 = N2 Q[1::2], Q orthogonal, N1, N2 normal"
    kinds = LINEAR
    solid = True

    def fitting(self, shape: Shape) -> int:
        return self.rank + self.rank % 2

    def settings(self, shape: Shape) -> dict[str, Any]:
        rank = self.fitting(shape)
        alpha = rank if self.alpha is None else self.alpha
        return {"r": rank, "lora_alpha": alpha, "init_lora_weights": "orthogonal"}
