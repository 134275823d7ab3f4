"""PiSSA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import Cut
from methods._peft import Shape


@register
@dataclass(frozen=True)
class PiSSA(Cut):
    """LoRA that starts as the largest singular parts of W, the rest of W being frozen.

    Meng, Wang, Zhang, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    NeurIPS 2024, arXiv:2404.02948. The rank stops at min(out, in).
    """

    name = "pissa"
    paper = "arXiv:2404.02948"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - B0 A0) + B A; B0 A0 = U_r S_r V_r^T of W"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "pissa"}
