"""SVFit: train the leading singular values of each weight, keep its singular vectors.

Sun, Wei, Wu, Shi, He, Ma, Xie, Yang, "SVFit: Parameter-Efficient Fine-Tuning of Large Pre-Trained Models Using Singular
Values", arXiv:2409.05926. W = U_r diag(sigma) V_r + W_e; sigma (r,) is trained. "16 times fewer" than
LoRA in the abstract holds for all singular values (RoBERTa-base, q and v: 18,432 against 294,912 of LoRA with r = 8),
so that is the default. No code of the authors was found; the rate is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, register
from bench.method.reparam import Reparam, apply, flat, grouped, mix, svd


@register
@dataclass(frozen=True)
class SVFit(Reparam):
    """Add to the `rank` largest singular values of each weight at `targets`; none means to all of them.

    What is trained is delta (r,) = sigma - sigma_0, which starts at 0: weight decay then pulls towards the base. With
    all singular values it is still among the smallest of methods: SD 1.5's attention has 93,696, 0.011 %.
    """

    name = "svfit"
    paper = "arXiv:2409.05926"
    formula = "W' = W + U_r diag(delta) V_r, with W = U S V"
    lr = 1e-2
    space = {"lr": (1e-3, 3e-1, "log")}
    size_field = "rank"

    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise LitmusError(f"svfit: rank is at least 1, or none for all, not {self.rank}")

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {"delta": w.new_zeros(self.size(*w.shape))}  # (r,)

    def fixed(self, w: Tensor) -> dict[str, Tensor]:
        u, _, v = svd(w)
        r = self.size(*w.shape)
        return {"u": u[:, :r], "v": v[:r]}  # (out, r), (r, in)

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        return w + (theta.u * theta.delta) @ theta.v

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if grouped(layer):
            return super().forward(layer, x, theta)
        return apply(layer, x, flat(layer.weight), layer.bias) + mix(
            layer, apply(layer, x, theta.v), theta.u * theta.delta
        )

    def size(self, out: int, in_: int) -> int:
        return min(out, in_) if self.rank is None else min(out, in_, self.rank)
