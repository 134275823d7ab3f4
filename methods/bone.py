"""Bone: an affine map of each block of W, guided by W itself.

Kang, "Bone: Block-Affine Adaptation of Large Language Models", arXiv:2409.15371; later versions (Kang, Yin) call it
MiSS, "Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure". W is cut into r x r blocks W_jk; the
block-affine form ("bat") adds W_jk M_j + M_j, with one M_j for each row of blocks. The plain form adds the same r rows
M to every r inputs: y += M^T (x_1 + x_2 + ...). Both train r * out scalars. peft keeps both as "miss" since 0.17; this
is our own form, which also takes widths that r does not divide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, register
from bench.method.reparam import Reparam, apply, flat


@register
@dataclass(frozen=True)
class Bone(Reparam):
    """Add to each weight at `targets` a map of its own blocks; M starts at 0.

    rank  side of a block; never more than the layer's own widths. Where it does not divide a width, the last blocks
          hang over the edge and are cut
    form  bat: M (out / r, r, r), reads W in every forward; plain: M (r, out)
    """

    name = "bone"
    paper = "arXiv:2409.15371"
    formula = "W'_jk = W_jk + W_jk M_j + M_j over blocks of r x r"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 128, "log")}
    size_field = "rank"

    rank: int = 16
    form: str = "bat"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"bone: rank is at least 1, not {self.rank}")
        if self.form not in ("bat", "plain"):
            raise LitmusError(f"bone: form is bat or plain, not {self.form!r}")

    def shape(self, out: int, in_: int) -> tuple[int, ...]:
        """Shape of M for a weight (out, in)."""
        r = min(self.rank, in_) if self.form == "plain" else min(self.rank, out, in_)
        return (r, out) if self.form == "plain" else (-(-out // r), r, r)

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {"m": w.new_zeros(self.shape(*w.shape))}

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        (out, in_), m = w.shape, theta.m
        if self.form == "plain":
            return w + m.T.repeat(1, -(-in_ // len(m)))[:, :in_]
        j, r = m.shape[0], m.shape[1]
        k = -(-in_ // r)
        blocks = F.pad(w, (0, k * r - in_, 0, j * r - out)).view(j, r, k, r).transpose(1, 2)  # (j, k, r, r)
        delta = blocks @ m[:, None] + m[:, None]
        return w + delta.transpose(1, 2).reshape(j * r, k * r)[:out, :in_]

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if self.form == "bat" or isinstance(layer, nn.Conv2d):
            return super().forward(layer, x, theta)
        r = len(theta.m)
        chunks = F.pad(x, (0, -x.shape[-1] % r)).unflatten(-1, (-1, r))  # (..., k, r)
        return apply(layer, x, flat(layer.weight), layer.bias) + chunks.sum(-2) @ theta.m

    def size(self, out: int, in_: int) -> int:
        return torch.Size(self.shape(out, in_)).numel()
