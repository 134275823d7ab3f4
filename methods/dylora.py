"""DyLoRA: one LoRA that works at every rank up to its own.

Valipour, Rezagholizadeh, Kobyzev, Ghodsi, "DyLoRA: Parameter-Efficient Tuning of Pre-trained Models using Dynamic
Search-Free Low-Rank Adaptation", EACL 2023, arXiv:2210.07558. Each step draws k from 1 ... rank, once for
all layers, and uses the first k rows of A and columns of B; each is scaled by sqrt(rank / k) beside alpha / rank, so
alpha / k in all (huawei-noah/Efficient-NLP, DyLoRA/loralib/DyLoRA.py at bb44348).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, Network, register
from bench.method.reparam import LowRank, apply, draws, flat, grouped, mix, substream, thetas


@register
@dataclass(frozen=True)
class DyLoRA(LowRank):
    """LoRA of rank `rank` trained so that its first `use` ranks alone can be used.

    use     rank outside training, none means all of them; a saved state can be read under any `use`
    frozen  in a step, only the k-th rank learns and those before it are held fast
    """

    name = "dylora"
    paper = "arXiv:2210.07558"
    formula = "W' = W + (alpha / k) B[:, :k] A[:k], k drawn each step"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    older = {"seed": None}  # of draws that were the same under every seed of a board

    rank: int = 8
    use: int | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use is not None and self.use < 1:
            raise LitmusError(f"dylora: use is at least 1, not {self.use}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        seed = substream(rng)
        for _, theta in thetas(net):
            theta.seed = seed
        self._draw(net, 0)

    def step(self, net: Network, i: int, n: int) -> None:
        self._draw(net, i + 1)

    def _draw(self, net: Network, step: int) -> None:
        for _, theta in thetas(net):  # one seed, so one k
            k = torch.randint(1, self.rank + 1, (), generator=draws(theta.seed, step), device="cpu")
            theta.memory["k"] = int(k)

    def factors(self, theta: Any) -> tuple[Tensor, Tensor]:
        """B[:, :k] times its factor (out, k), and A[:k] (k, in)."""
        last = min(self.use or self.rank, self.rank)
        k = theta.memory.get("k", last) if theta.training else last
        a, b = theta.a[:k], theta.b[:, :k]
        if theta.training and self.frozen:
            a, b = torch.cat([a[:-1].detach(), a[-1:]]), torch.cat([b[:, :-1].detach(), b[:, -1:]], 1)
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / k * b, a

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        b, a = self.factors(theta)
        return w + b @ a

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if grouped(layer):
            return super().forward(layer, x, theta)
        b, a = self.factors(theta)
        return apply(layer, x, flat(layer.weight), layer.bias) + mix(layer, apply(layer, x, a), b)
