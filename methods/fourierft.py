"""FourierFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape, one_of
from methods._spectrum import Spectrum


@register
@dataclass(frozen=True)
class FourierFT(Spectrum):
    """A few real entries of the change's Fourier spectrum.

    Gao, Wang, Chen, Liu, Wu, Chen, Li, "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", ICML 2024,
    arXiv:2405.03003, section 3.1. They start at 0, or with start = normal as in the paper from a standard normal,
    which is not the base, and on small weights far from it: an entry moves each weight by scale / (out in).
    """

    name = "fourierft"
    paper = "arXiv:2405.03003, section 3.1"
    config = "FourierFTConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 3e-1, "log"), "frequencies": (10, 100_000, "log")}
    formula = "W' = W + scale Re(F^-1(c)), c sparse"

    scale: float = 150.0
    start: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "start", ("normal", "zero"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.start == "zero"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"scaling": self.scale, "init_weights": self.start == "zero"}
