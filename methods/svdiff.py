"""SVDiff: shift all singular values of every weight, convolutions and norms too.

Han, Li, Zhang, Milanfar, Metaxas, Yang, "SVDiff: Compact Parameter Space for Diffusion Fine-Tuning", ICCV 2023,
arXiv:2303.11305: W' = U diag(relu(sigma + delta)) V. A norm's weight is a matrix of one row, with one
singular value, its length. What is adapted (every Linear, Conv2d and norm, no bias) and the smaller rate of the norms
are those of mkshing/svdiff-pytorch (layers.py at 4edf103, README at 23424d5: 1e-3 and 1e-6), which is not the authors'
own. The paper trains with prior preservation, weight 1: here that is the objective "prior" of a protocol. Its text side
is left frozen, and Cut-Mix-Unmix, a way to make training pictures of several subjects, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, Network, register
from bench.method.reparam import Reparam, svd, thetas, unwrap, wide, wrap
from bench.network.sites import sites


@register
@dataclass(frozen=True)
class SVDiff(Reparam):
    """Train a shift delta (m,) of the m = min(out, in) singular values of each weight, and one scalar for each norm.

    scale       fixed factor on the shift
    norm_share  learning rate of the norms' scalars as a share of lr
    """

    name = "svdiff"
    paper = "arXiv:2303.11305"
    formula = "W' = U diag(relu(S + scale * delta)) V, with W = U S V"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-1, "log")}

    targets: str = "linear+conv"
    scale: float = 1.0
    norms: bool = True
    norm_share: float = 1e-3

    def __post_init__(self) -> None:
        if self.norm_share <= 0:
            raise LitmusError(f"svdiff: norm_share is above 0, not {self.norm_share}: say norms=false to leave them")

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {"delta": w.new_zeros(min(w.shape))}  # (m,)

    def fixed(self, w: Tensor) -> dict[str, Tensor]:
        u, s, v = svd(w)
        return {"u": u, "s": s, "v": v}

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        # As a difference from W, which is then the start to the last bit.
        return w + (theta.u * self._shift(theta)) @ theta.v

    def _shift(self, theta: Any) -> Tensor:
        return (theta.s + self.scale * theta.delta).relu() - theta.s

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            return super().forward(layer, x, theta)
        y = type(layer).forward(layer, x)
        factor = self._factor(theta).to(y.dtype)
        if getattr(layer, "bias", None) is None:
            return y * factor
        b = layer.bias.to(y.dtype)
        if isinstance(layer, nn.GroupNorm):  # channels are its second axis, features are the last of the others
            b = b.view(-1, *[1] * (y.ndim - 2))
        return y * factor + b * (1 - factor)

    def _factor(self, theta: Any) -> Tensor:
        """W' / W (1,) of a norm: one singular value scales the whole vector."""
        return 1 + self._shift(theta) / theta.s.clamp_min(1e-12)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for layer in self._norms(net).values():
            w = layer.weight.detach()
            length = w.to(wide(w)).norm().reshape(1)
            wrap(layer, self, {"delta": torch.zeros_like(length)}, {"s": length})

    def count(self, net: Network) -> int:
        return super().count(net) + len(self._norms(net))

    @torch.no_grad()
    def merge(self, net: Network) -> None:
        for layer, theta in thetas(net):
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.mul_(self._factor(theta))
                unwrap(layer)
        super().merge(net)

    def groups(self, net: Network, lr: float) -> list[dict[str, Any]]:
        adapted = thetas(net)
        norms = [t.delta for m, t in adapted if not isinstance(m, nn.Linear | nn.Conv2d)]
        rest = [t.delta for m, t in adapted if isinstance(m, nn.Linear | nn.Conv2d)]
        groups = [{"params": rest, "lr": lr}, {"params": norms, "lr": lr * self.norm_share}]
        return [g for g in groups if g["params"]]

    def size(self, out: int, in_: int) -> int:
        return min(out, in_)

    def _norms(self, net: Network) -> dict[str, Any]:
        return sites(net, "norm", optional=True) if self.norms else {}
