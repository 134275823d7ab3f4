"""DEFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lowrank import LowRankTuner
from methods._peft import Shape, one_of


@register
@dataclass(frozen=True)
class DEFT(LowRankTuner):
    """Take a low-rank part of the weight's output away, and put a trained one in its place.

    Kumar, Anwer, Shahbaz Khan, Khan, Laptev, Cholakkal, "DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image
    Models", NeurIPS 2025; paper not read, as peft's tuner. Not the density-efficient fine-tuning of the same name. The
    rank stops at out.
    decomposition  relu: Q = P, V = relu(P); qr: both are the orthonormal factor of P
    para           only take away (no R), a start that is not the base: Chen, Pan, Cai, Phung, "PaRa: Personalizing
                   Text-to-Image Diffusion via Parameter Rank Reduction", ICLR 2025
    """

    name = "deft"
    paper = "NeurIPS 2025, Kumar et al."
    config = "DeftConfig"
    formula = "W' = W - Q V^T W + Q R"

    alpha: None = None
    decomposition: str = "qr"
    para: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "decomposition", ("relu", "qr"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return not self.para

    def fitting(self, shape: Shape) -> int:
        return min(self.rank, shape[0])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.fitting(shape), "decomposition_method": self.decomposition, "para": self.para}

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * (shape[0] if self.para else sum(shape))
