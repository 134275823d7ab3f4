"""LoKr, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lycoris import Lycoris
from methods._peft import Shape


@register
@dataclass(frozen=True)
class LoKr(Lycoris):
    """The Kronecker product of a small matrix C (o1, i1) and a low-rank one B A (o2, i2), o1 o2 = out, i1 i2 = in.

    Yeh, Hsieh, Gao, Yang, Oh, Gong, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
    Evaluation", ICLR 2024, arXiv:2309.14859, section 3.2, equation 4. In peft C starts at 0. Where rank is half of
    max(o2, i2) or more, that matrix is trained whole.
    factor  the size of C: o1 and i1 are the largest divisors not above it; -1 makes both matrices as square as can be,
            which is peft's default and stops at few scalars
    """

    name = "lokr"
    paper = "arXiv:2309.14859, section 3.2"
    config = "LoKrConfig"
    formula = "W' = W + (alpha / rank) kron(C, B A)"

    rank: int = 2
    factor: int = 4

    def settings(self, shape: Shape) -> dict[str, Any]:
        alpha = self.rank if self.alpha is None else self.alpha
        return {"r": self.rank, "alpha": alpha, "decompose_factor": self.factor}

    def size(self, shape: Shape) -> int:
        from peft.tuners.lokr.layer import factorization

        (o1, o2), (i1, i2) = (factorization(side, self.factor) for side in shape)
        return o1 * i1 + (self.rank * (o2 + i2) if self.rank < max(o2, i2) / 2 else o2 * i2)
