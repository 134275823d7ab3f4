"""OLoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import Cut
from methods._peft import Shape


@register
@dataclass(frozen=True)
class OLoRA(Cut):
    """LoRA that starts as the first columns of Q and rows of R, W = Q R, the rest of W being frozen.

    Buyukakyuz, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", 2024, arXiv:2406.01775.
    The rank stops at min(out, in).
    """

    name = "olora"
    paper = "arXiv:2406.01775"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - s B0 A0) + s B A; B0 = Q[:, :r], A0 = R[:r] of W = Q R"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "olora"}
