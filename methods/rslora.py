"""rsLoRA, through Hugging Face's peft."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import LINEAR_CONV, Shape


@register
@dataclass(frozen=True)
class RsLoRA(LowRankTuner):
    """LoRA scaled by alpha / sqrt(rank), so that the product does not shrink as the rank grows.

    Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv:2312.03732.
    alpha  none means alpha = sqrt(rank), a factor of 1 as in `lora`; at a given alpha the two part
    """

    name = "rslora"
    paper = "arXiv:2312.03732"
    formula = "W' = W + (alpha / sqrt(rank)) B A"
    kinds = LINEAR_CONV

    alpha: float | None = 4.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "lora_alpha": math.sqrt(self.rank) if self.alpha is None else self.alpha} | {
            "use_rslora": True
        }
