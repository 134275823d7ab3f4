"""PSOFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape, Tuner


@register
@dataclass(frozen=True)
class PSOFT(Tuner):
    """A rotation inside the space of the weight's largest singular parts, with two scales.

    Wu, Hu, Min, Wang, "Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation", ICLR 2026,
    arXiv:2505.11235, section 4.3, equation 8. A and B come from W's singular value decomposition and are frozen. The
    rank stops at min(out, in).
    """

    name = "psoft"
    paper = "arXiv:2505.11235, section 4.3"
    config = "PsoftConfig"
    lr = 2e-3
    space = {"lr": (1e-4, 2e-2, "log"), "rank": (2, 128, "log")}
    size_field = "rank"
    formula = "W' = W + B (diag(b) R diag(a) - I) A, B A = U_r S_r V_r^T of W, R orthogonal"

    rank: int = 8

    def _rank(self, shape: Shape) -> int:
        return min(self.rank, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self._rank(shape), "psoft_alpha": self._rank(shape)}

    def size(self, shape: Shape) -> int:
        r = self._rank(shape)
        return r * (r - 1) // 2 + 2 * r
