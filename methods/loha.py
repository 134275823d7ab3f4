"""LoHa, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._lycoris import Lycoris
from methods._peft import LINEAR_CONV, Shape


@register
@dataclass(frozen=True)
class LoHa(Lycoris):
    """The element-wise product of two low-rank products, of rank up to rank squared.

    Hyeon-Woo, Ye-Bin, Oh, "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", ICLR
    2022, arXiv:2108.06098, section 2.2; for diffusion in LyCORIS, arXiv:2309.14859. One of the four factors starts
    at 0.
    """

    name = "loha"
    paper = "arXiv:2108.06098, section 2.2"
    config = "LoHaConfig"
    kinds = LINEAR_CONV
    formula = "W' = W + (alpha / rank) (B1 A1) * (B2 A2), element by element"
    packable = False  # peft's own backward pass has no batched form

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "alpha": self.rank if self.alpha is None else self.alpha}

    def size(self, shape: Shape) -> int:
        return 2 * self.rank * sum(shape)
