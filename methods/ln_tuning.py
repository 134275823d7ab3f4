"""LN tuning, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.method import Network, register
from bench.network.sites import sites
from methods._peft import Tuner, drawn_from, wrap


@register
@dataclass(frozen=True)
class LNTuning(Tuner):
    """Train each norm's weight and bias, on copies of the norms.

    Zhao, Tu, Wei, Mei, Xie, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", ICLR 2024,
    arXiv:2312.11420. All affine norms of the denoiser, group norms too.
    """

    name = "ln_tuning"
    paper = "arXiv:2312.11420"
    config = "LNTuningConfig"
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log")}
    formula = "g' = g + dg, b' = b + db in each norm"

    targets: str = "norm"

    def layers(self, net: Network) -> dict[str, nn.Module]:
        return sites(net.denoiser, self.targets)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        with drawn_from(rng):
            wrap(net.denoiser, self.config, self.layers(net), {})

    def cost(self, layer: Any) -> int:
        return sum(p.numel() for p in layer.parameters())
