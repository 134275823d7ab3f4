"""Scale and bias tuning: y = s * (W x + b) with a new scale s and a new bias b on each linear layer, and the norms.

Gao, Han, Zhang, Lin, Geng, Zhou, Zhang, Lu, He, Yue, Li, Qiao, "LLaMA-Adapter V2: Parameter-Efficient Visual
Instruction Model", arXiv:2304.15010, "Bias tuning of linear layers". Its other parts
(zero-gated prefix, early fusion, two sets of data) are not methods of this kind and are left out.

LLaMA's layers have no bias of their own. Where a layer has one, b0, this is y = s * (W x + b0 + b).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import Method, Network, register
from bench.network.sites import sites


@register
@dataclass(frozen=True)
class ScaleBias(Method):
    """A scale s (out,) = 1 and a bias b (out,) = 0 on each layer at `targets`.

    targets  role of bench.network.sites; Linear and Conv2d layers. The paper takes all linear layers of the blocks
    bias     false leaves the new bias out: then what is left folds into the weights
    norms    also train the affine norms, as the paper does
    """

    name = "scale_bias"
    paper = "arXiv:2304.15010"
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log")}
    packable = True
    formula = "y = s * (W x + b)"

    targets: str = "attn+ff"
    bias: bool = True
    norms: bool = True

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        return not self.bias  # most layers of an attention have no bias in the base that could take the new one in

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for layer in sites(net, self.targets).values():
            layer.register_parameter("tuned_scale", nn.Parameter(layer.weight.new_ones(len(layer.weight))))  # (out,)
            if self.bias:
                layer.register_parameter("tuned_bias", nn.Parameter(layer.weight.new_zeros(len(layer.weight))))
            layer.forward = MethodType(_forward, layer)
        for p in self._norms(net):
            p.requires_grad_(True)

    def count(self, net: Network) -> int:
        vectors = 2 if self.bias else 1
        scaled = sum(vectors * len(layer.weight) for layer in sites(net, self.targets).values())
        return scaled + sum(p.numel() for p in self._norms(net))

    @torch.no_grad()
    def merge(self, net: Network) -> None:
        for layer in sites(net, self.targets).values():
            s = layer.tuned_scale
            layer.weight.mul_(s.reshape(-1, *[1] * (layer.weight.ndim - 1)))
            if layer.bias is not None:
                layer.bias.mul_(s)
            del layer.tuned_scale
            layer.__dict__.pop("forward", None)

    def _norms(self, net: Network) -> list[nn.Parameter]:
        norms = sites(net, "norm", optional=True).values() if self.norms else ()
        return [p for m in norms for p in m.parameters(recurse=False)]


def _forward(layer: Any, x: Tensor) -> Tensor:
    y = type(layer).forward(layer, x)
    shape = (-1, *[1] * (layer.weight.ndim - 2))  # a convolution's channels are not its last axis
    if (b := getattr(layer, "tuned_bias", None)) is not None:
        y = y + b.to(y.dtype).view(shape)  # under autocast y is shorter than b
    return y * layer.tuned_scale.to(y.dtype).view(shape)
