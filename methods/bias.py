"""BitFit: train the biases, freeze the rest.

Ben Zaken, Ravfogel, Goldberg, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", ACL 2022, arXiv:2106.10199.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import Method, Network, register
from bench.network.sites import sites


@register
@dataclass(frozen=True)
class Bias(Method):
    """Train every bias b (out,) of the denoiser, those of the norms too; nothing is added."""

    name = "bias"
    paper = "arXiv:2106.10199"
    lr = 3e-3
    quantised = True
    space = {"lr": (3e-4, 3e-2, "log")}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for module in sites(net, "bias").values():
            module.bias.requires_grad_(True)

    def count(self, net: Network) -> int:
        return sum(module.bias.numel() for module in sites(net, "bias").values())
