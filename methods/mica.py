"""MiCA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import Cut
from methods._peft import Shape


@register
@dataclass(frozen=True)
class MiCA(Cut):
    """LoRA whose B is frozen at the left singular vectors of W's smallest singular values; A starts at 0.

    Rudiger, Raschka, "MiCA Learns More Knowledge Than LoRA and Full Fine-Tuning", 2026, arXiv:2604.01694 (minor
    component adaptation); paper not read, as peft's `mica` start. The rank stops at min(out, in).
    """

    name = "mica"
    paper = "arXiv:2604.01694"
    formula = "W' = W + s U_minor A"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "mica"}

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * shape[1]
