"""DiffFit: train biases and norms, and scale the output of each sub-layer by a trained vector gamma.

Xie, Yao, Shi, Liu, Zhou, Liu, Li, Li, "DiffFit: Unlocking Transferability of Large Diffusion Models via Simple
Parameter-Efficient Fine-Tuning", ICCV 2023, arXiv:2304.06648. Carried to Stable Diffusion's blocks as in
https://github.com/mkshing/DiffFit-pytorch at 78dc2d1, whose scales on q, k, v and the output projection are the
option `attention_scales`. The paper scales only the shallow half of DiT, 14 of 28 blocks, which `depth` does; a U-Net
has no such half, so by default all are scaled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from bench.network.sites import sites

SUBLAYERS = "attn.to_out+ff.down"  # the last layer of each sub-layer: its output is what the residual sum takes
PROJECTIONS = "attn.to_q+attn.to_k+attn.to_v+attn.to_out"


@register
@dataclass(frozen=True)
class DiffFit(Method):
    """Train every bias, every norm's affine weight, and a gamma (C,) per sub-layer that starts at 1.

    attention_scales  also a gamma on each attention's q, k, v and output projection
    depth             gammas in the first `depth` blocks along the data's way alone; none: in all. Biases and norms are
                      trained everywhere
    """

    name = "difffit"
    paper = "arXiv:2304.06648"
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log")}
    packable = True
    formula = "x <- x + gamma * sublayer(x), with every bias and norm trained"

    attention_scales: bool = False
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 1:
            raise LitmusError(f"difffit: depth is at least 1, or none for all blocks, not {self.depth}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for p in _own(net):
            p.requires_grad_(True)
        for key, layer in self._scaled(net):
            layer.register_parameter(key, nn.Parameter(layer.weight.new_ones(len(layer.weight))))  # (C,)
            # As a bound method, not a hook: deepcopy binds it to the copy, and merge only has to forget it.
            layer.forward = MethodType(_forward, layer)

    def count(self, net: Network) -> int:
        return sum(p.numel() for p in _own(net)) + sum(len(layer.weight) for _, layer in self._scaled(net))

    def merge(self, net: Network) -> None:
        for layer in net.denoiser.modules():
            for key in [key for key in GAMMAS if isinstance(getattr(layer, key, None), nn.Parameter)]:
                _fold(layer, key)

    def _scaled(self, net: Network) -> Iterator[tuple[str, Any]]:
        """(name of the gamma, layer) for each gamma; the output projection has two with `attention_scales`."""
        roles = {"gamma": SUBLAYERS} | ({"gamma_projection": PROJECTIONS} if self.attention_scales else {})
        first = tuple(f"{block}." for block in _ordered(net)[: self.depth])
        for key, role in roles.items():
            yield from ((key, layer) for path, layer in sites(net, role).items() if path.startswith(first))


GAMMAS = ("gamma", "gamma_projection")


def _ordered(net: Network) -> list[str]:
    """Paths of the blocks along the data's way: diffusers registers a U-Net's middle after its way up."""
    return sorted(sites(net, "block"), key=lambda path: ".up_blocks." in path)


def _own(net: Network) -> list[nn.Parameter]:
    """The base's own tensors that are trained: biases, and the norms' weights (DiT's norms have none)."""
    biases = [module.bias for module in sites(net, "bias", optional=True).values()]
    return biases + [module.weight for module in sites(net, "norm", optional=True).values()]


def _forward(layer: Any, x: Tensor) -> Tensor:
    y = type(layer).forward(layer, x)
    for key in GAMMAS:
        if (gamma := getattr(layer, key, None)) is not None:
            y = y * gamma.to(y.dtype)  # under autocast y is shorter than gamma
    return y


@torch.no_grad()
def _fold(layer: Any, key: str) -> None:
    """gamma * (W x + b) = (gamma W) x + gamma b, row by row."""
    gamma = getattr(layer, key)
    layer.weight.mul_(gamma[:, None])
    if layer.bias is not None:
        layer.bias.mul_(gamma)
    delattr(layer, key)
    layer.__dict__.pop("forward", None)
