"""BEFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass

from bench.method import register
from methods._peft import Shape, Tuner


@register
@dataclass(frozen=True)
class BEFT(Tuner):
    """A new bias, from 0, on the values of attention.

    Huang, Balashankar, Aminifar, "BEFT: Bias-Efficient Fine-Tuning of Language Models in Low-Data Regimes", ACL 2026,
    arXiv:2509.15974; paper not read, as peft's tuner. It cannot be merged into a layer
    that has no bias, as the values' layers of diffusion networks have none.
    """

    name = "beft"
    paper = "arXiv:2509.15974"
    config = "BeftConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    formula = "y = W x + b"
    mergeable = False

    targets: str = "attn.to_v"

    def size(self, shape: Shape) -> int:
        return shape[0]
