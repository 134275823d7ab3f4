"""Hydra: a low-rank branch beside the layer and another behind it.

Kim, Yang, Kim, Hong, Park, "Hydra: Multi-head Low-rank Adaptation for Parameter Efficient Fine-tuning", Neural Networks
2024, arXiv:2309.06922. y = y_0 + s B_p A_p x + s B_s A_s y_0 with y_0 = W x + b. The start (Xavier below,
0 above) is that of extremebird/Hydra (vtab1k/hydra.py at b8f5a11), whose branches also have biases of their own; they
are left out, as in the paper's formula. There the layers are attention's output projection and the second feed-forward
layer: targets "attn.to_out+ff.down".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, register
from bench.method.reparam import Reparam, apply, flat, grouped, mix, uniform

BRANCHES = ("both", "parallel", "sequential")


@register
@dataclass(frozen=True)
class Hydra(Reparam):
    """Train B_p A_p, which reads the layer's input, and B_s A_s, which reads its output.

    branch  both; parallel alone (then it is LoRA) or sequential alone, for the paper's ablation
    scale   s
    """

    name = "hydra"
    paper = "arXiv:2309.06922"
    formula = "W' = W + s (B_p A_p + B_s A_s W), b' = b + s B_s A_s b"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"

    rank: int = 2
    scale: float = 1.0
    branch: str = "both"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"hydra: rank is at least 1, not {self.rank}")
        if self.branch not in BRANCHES:
            raise LitmusError(f"hydra: branch is one of {', '.join(BRANCHES)}, not {self.branch!r}")

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        (out, in_), r = w.shape, self.rank
        theta: dict[str, Tensor] = {}
        if self.branch != "sequential":
            theta["a_parallel"] = uniform((r, in_), (6 / (r + in_)) ** 0.5, rng, w)
            theta["b_parallel"] = w.new_zeros(out, r)
        if self.branch != "parallel":
            theta["a_sequential"] = uniform((r, out), (6 / (r + out)) ** 0.5, rng, w)
            theta["b_sequential"] = w.new_zeros(out, r)
        return theta

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        new = w
        if self.branch != "sequential":
            new = new + self.scale * (theta.b_parallel @ theta.a_parallel)
        if self.branch != "parallel":
            new = new + self.scale * (theta.b_sequential @ (theta.a_sequential @ w))
        return new

    def bias(self, b: Tensor | None, theta: Any) -> Tensor | None:
        if b is None or self.branch == "parallel":
            return b
        return b + self.scale * (theta.b_sequential @ (theta.a_sequential @ b))

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if grouped(layer):
            return super().forward(layer, x, theta)
        first = y = apply(layer, x, flat(layer.weight), layer.bias)
        if self.branch != "sequential":
            y = y + self.scale * mix(layer, apply(layer, x, theta.a_parallel), theta.b_parallel)
        if self.branch != "parallel":
            y = y + self.scale * mix(layer, mix(layer, first, theta.a_sequential), theta.b_sequential)
        return y

    def size(self, out: int, in_: int) -> int:
        parallel, sequential = self.rank * (in_ + out), 2 * self.rank * out
        return {"both": parallel + sequential, "parallel": parallel, "sequential": sequential}[self.branch]
