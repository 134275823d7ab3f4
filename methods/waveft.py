"""WaveFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape
from methods._spectrum import Spectrum


@register
@dataclass(frozen=True)
class WaveFT(Spectrum):
    """A few entries of the change's wavelet coefficients, from 0.

    Bilican, Yilmaz, Tekalp, Cinbis, "Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets", 2025,
    arXiv:2505.12532. Daubechies 1, as in peft, whose default is 2592 entries.
    """

    name = "waveft"
    paper = "arXiv:2505.12532"
    config = "WaveFTConfig"
    lr = 3e-3
    space = {"lr": (1e-4, 1e-1, "log"), "frequencies": (10, 100_000, "log")}
    formula = "W' = W + scale iDWT(c), c sparse"

    scale: float = 25.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"scaling": self.scale}
