"""MoSA: an adapter whose matrices are split into parts, of which a random one works in each step.

Zhang, Zou, An, Liu, Zhang, "MoSA: Mixture of Sparse Adapters for Visual Efficient Tuning", arXiv:2312.02923.
Masks M_1 ... M_n with sum 1 part a matrix; a step uses W * M_k for one k of each adapter, and afterwards all parts are
one dense matrix again. Four parts, width 64 and a down-projection that is shared (only the up-projection is parted) are
those of Theia-4869/MoSA (scripts/mosa/vit at b248791), as is one adapter behind each feed-forward ("Pfeiffer" there,
whose extra norm before the adapter is left out). Its second forward with a consistency loss between two draws is an
objective, and left out too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from bench.method.reparam import draws, substream, thetas, uniform, wide, wrap
from bench.network.sites import sites

SHARES = ("down", "up", "neither")


@register
@dataclass(frozen=True)
class MoSA(Method):
    """An adapter y + up(relu(down(y))) on the output of each layer at `targets`.

    width  of the bottleneck
    parts  n, into which a matrix is split
    share  down: only the up-projection is split; up: only the down-projection; neither: both are
    Split and draws come from the run's own stream: neither matters once all parts are together again.
    """

    name = "mosa"
    paper = "arXiv:2312.02923"
    formula = "y' = y + (M_k * U) relu(D y + a) + b, k drawn each step; all parts together afterwards"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    older = {"seed": None}  # of a split and draws that were the same under every seed of a board
    mergeable = False  # relu stands between the layer and what is added to it

    targets: str = "ff.down"
    width: int = 64
    parts: int = 4
    share: str = "down"

    def __post_init__(self) -> None:
        if self.width < 1 or self.parts < 1:
            raise LitmusError(f"mosa: width and parts are at least 1, not {self.width} and {self.parts}")
        if self.share not in SHARES:
            raise LitmusError(f"mosa: share is one of {', '.join(SHARES)}, not {self.share!r}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for layer in self._places(net).values():
            w, (d, m) = layer.weight.detach(), (len(layer.weight), self.width)
            w = w.to(wide(w))
            trained = {
                "down": uniform((m, d), d**-0.5, rng, w),  # (m, d)
                "down_bias": w.new_zeros(m),
                "up": w.new_zeros(d, m),  # (d, m) = 0: the start is the base
                "up_bias": w.new_zeros(d),
            }
            fixed = {f"{key}_part": w.new_zeros(trained[key].shape, dtype=torch.uint8) for key in self._parted()}
            wrap(layer, self, trained, fixed)
        seed = substream(rng)
        split = draws(seed, -1)
        for _, theta in thetas(net):
            theta.seed = seed
            for key in self._parted():
                self._split(getattr(theta, f"{key}_part"), split)
        self._draw(net, 0)

    def count(self, net: Network) -> int:
        widths = [len(layer.weight) for layer in self._places(net).values()]
        return sum(2 * self.width * d + self.width + d for d in widths)

    def step(self, net: Network, i: int, n: int) -> None:
        self._draw(net, i + 1)

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        y = type(layer).forward(layer, x)
        if isinstance(layer, nn.Conv2d):
            return y + self._adapter(theta, y.movedim(1, -1)).movedim(-1, 1)
        return y + self._adapter(theta, y)

    def _adapter(self, theta: Any, y: Tensor) -> Tensor:
        h = F.linear(y, self._active(theta, "down"), theta.down_bias).relu()  # (..., m)
        return F.linear(h, self._active(theta, "up"), theta.up_bias)

    def _active(self, theta: Any, key: str) -> Tensor:
        """The matrix, or in a training step the part of it that was drawn."""
        w, k = getattr(theta, key), theta.memory.get(key)
        return w * (getattr(theta, f"{key}_part") == k) if theta.training and k is not None else w

    def _draw(self, net: Network, step: int) -> None:
        found = thetas(net)
        stream = draws(found[0][1].seed, step)
        for _, theta in found:
            for key in self._parted():
                theta.memory[key] = int(torch.randint(self.parts, (), generator=stream, device="cpu"))

    def _parted(self) -> tuple[str, ...]:
        return {"down": ("up",), "up": ("down",), "neither": ("down", "up")}[self.share]

    def _split(self, part: Tensor, stream: torch.Generator) -> None:
        """Write the number of the part that each entry belongs to: parts of one size, entries at random."""
        if not part.is_meta:
            order = torch.randperm(part.numel(), generator=stream, device="cpu")
            part.copy_((order % self.parts).view(part.shape))

    def _places(self, net: Network) -> dict[str, Any]:
        found = sites(net, self.targets)
        if odd := next((k for k, m in found.items() if not isinstance(m, nn.Linear | nn.Conv2d)), None):
            raise LitmusError(f"mosa: {odd} is a {type(found[odd]).__name__}; choose Linear or Conv2d layers")
        return found
