"""GraLoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape, divisor


@register
@dataclass(frozen=True)
class GraLoRA(LowRankTuner):
    """LoRA on each of blocks x blocks tiles of the weight, with rank / blocks for each tile.

    Jung, Ahn, Kim, Kim, Park, "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", NeurIPS
    2025, arXiv:2505.20355, section 3.1, equation 5. The rank is taken up to the next multiple of blocks, and blocks is
    the largest divisor of both sides not above the one given.
    """

    name = "gralora"
    paper = "arXiv:2505.20355, section 3.1"
    config = "GraloraConfig"
    formula = "W'[j, k] = W[j, k] + (alpha / rank) B[j, k] A[j, k] for each tile"
    packable = False  # peft adds in place to the base layer's output

    blocks: int = 2

    def _blocks(self, shape: Shape) -> int:
        return divisor(self.blocks, *shape)

    def fitting(self, shape: Shape) -> int:
        k = self._blocks(shape)
        return -(-self.rank // k) * k

    def settings(self, shape: Shape) -> dict[str, Any]:
        r = self.fitting(shape)
        return {"r": r, "alpha": r if self.alpha is None else self.alpha, "gralora_k": self._blocks(shape)}
