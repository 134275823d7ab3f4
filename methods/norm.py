"""Norm tuning: train the affine weights and biases of the norms, freeze the rest.

Zhao, Tu, Wei, Mei, Xie, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", ICLR 2024,
arXiv:2312.11420. There LayerNorms alone; a denoiser's group norms and root-mean-square norms count here as
well. Norms without an affine part (PixArt's, those inside adaptive norms) have nothing to train.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bench.method import Method, Network, register
from bench.network.sites import sites


@register
@dataclass(frozen=True)
class Norm(Method):
    """Train each affine norm's weight (C,) and, where it has one, bias (C,); nothing is added."""

    name = "norm"
    paper = "arXiv:2312.11420"
    lr = 3e-3
    quantised = True
    space = {"lr": (3e-4, 3e-2, "log")}
    packable = True
    formula = "y = gamma * normalised(x) + beta, gamma and beta trained"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for p in _affine(net):
            p.requires_grad_(True)

    def count(self, net: Network) -> int:
        return sum(p.numel() for p in _affine(net))


def _affine(net: Network) -> list[nn.Parameter]:
    return [p for module in sites(net, "norm").values() for p in module.parameters(recurse=False)]
