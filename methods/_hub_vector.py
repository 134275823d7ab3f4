"""Tuners that train vectors: scales, biases, norms. Imported by methods/hub.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.method import Network, register
from bench.network.sites import sites
from methods._peft import Shape, Tuner, drawn_from, shape_of, wrap


@register
@dataclass(frozen=True)
class IA3(Tuner):
    """A trained scale, from 1, on each output of keys and values, and on each input of the feed-forward's last layer.

    Liu, Tam, Muqeeth, Mohta, Huang, Bansal, Raffel, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper
    than In-Context Learning", NeurIPS 2022, arXiv:2205.05638, section 3.3.
    inputs  the role among targets whose layers are scaled at the input
    """

    name = "ia3"
    paper = "arXiv:2205.05638, section 3.3"
    config = "IA3Config"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    formula = "W' = diag(l) W; at the inputs W' = W diag(l)"

    targets: str = "attn.to_k+attn.to_v+ff.down"
    inputs: str = "ff.down"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        before = self._at_input(net)
        after = [path for path in self.layers(net) if path not in before]
        with drawn_from(rng):
            # peft scales at the input what it takes for a feed-forward: here everything (".*") or nothing.
            for paths, feedforward in ((before, ".*"), (after, [])):
                if paths:
                    wrap(net.denoiser, self.config, paths, {"feedforward_modules": feedforward})

    def count(self, net: Network) -> int:
        before = self._at_input(net)
        return sum(shape_of(layer)[path in before] for path, layer in self.layers(net).items())

    def _at_input(self, net: Network) -> list[str]:
        known = sites(net.denoiser, self.inputs, optional=True)
        return [path for path in self.layers(net) if path in known]


@register
@dataclass(frozen=True)
class BEFT(Tuner):
    """A new bias, from 0, on the values of attention.

    Huang, Balashankar, Aminifar, "BEFT: Bias-Efficient Fine-Tuning of Language Models in Low-Data Regimes", ACL 2026,
    arXiv:2509.15974; paper not read, as peft's tuner. It cannot be merged into a layer
    that has no bias, as the values' layers of diffusion networks have none.
    """

    name = "beft"
    paper = "arXiv:2509.15974"
    config = "BeftConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    formula = "y = W x + b"
    mergeable = False

    targets: str = "attn.to_v"

    def size(self, shape: Shape) -> int:
        return shape[0]


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
