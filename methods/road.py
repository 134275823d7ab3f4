"""RoAd, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import LitmusError, register
from methods._peft import Shape, Tuner, divisor


@register
@dataclass(frozen=True)
class RoAd(Tuner):
    """A rotation and a scale of each pair of outputs.

    Liao, Monz, "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability", NeurIPS
    2024, arXiv:2409.00119, section 3.2, equation 3 and table 1. There pairs are neighbours; peft pairs across groups.
    variant  1, 2 or 4: angles and scales are shared by the pair, by each output, or not at all
    group    pairs are taken across the two halves of each group of outputs; the largest even divisor of out not above
             it is taken
    """

    name = "road"
    paper = "arXiv:2409.00119, section 3.2"
    config = "RoadConfig"
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log")}
    formula = "y' = R y for each pair of outputs, R = scale [[cos, -sin], [sin, cos]]"

    variant: int = 1
    group_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in (1, 2, 4):
            raise LitmusError(f"road: variant is 1, 2 or 4, not {self.variant}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        if shape[0] % 2:
            raise LitmusError(f"road turns pairs of outputs, and a layer has {shape[0]} of them: narrow targets")
        return {"variant": f"road_{self.variant}", "group_size": 2 * divisor(self.group_size / 2, shape[0] // 2)}

    def size(self, shape: Shape) -> int:
        return self.variant * shape[0]
