"""HiRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape


@register
@dataclass(frozen=True)
class HiRA(LowRankTuner):
    """The weight times a low-rank product, element by element, so that the change has the weight's own rank.

    Huang, Ko, Zhuang, Tang, Zhang, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language
    Models", ICLR 2025 (OpenReview TwJrTz9cRS). There is no scale.
    """

    name = "hira"
    paper = "OpenReview TwJrTz9cRS"
    config = "HiraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "rank": (1, 64, "log")}
    formula = "W' = W + W * (B A), element by element"

    alpha: None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}
