"""DoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import LINEAR_CONV, Shape


@register
@dataclass(frozen=True)
class DoRA(LowRankTuner):
    """Direction and size of each weight's rows apart: LoRA moves the direction, a trained vector m (out,) the size.

    Liu, Wang, Yin, Molchanov, Wang, Cheng, Chen, "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024,
    arXiv:2402.09353, section 4.1. m starts as the rows' norms; the norm below the fraction is held constant in the
    gradient (section 4.3).
    """

    name = "dora"
    paper = "arXiv:2402.09353, section 4.1"
    formula = "W' = m (W + s B A) / |W + s B A|, norms over each output's row"
    kinds = LINEAR_CONV

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"use_dora": True}

    def size(self, shape: Shape) -> int:
        return super().size(shape) + shape[0]
