"""TinyLoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.method import Network, register
from methods._peft import ADAPTER, Shape, Tuner, wrapped


@register
@dataclass(frozen=True)
class TinyLoRA(Tuner):
    """A few trained numbers for each layer, spread by frozen random matrices between its largest singular vectors.

    Morris, Mireshghallah, Ibrahim, Mahloujifar, "Learning to Reason in 13 Parameters", 2026, arXiv:2602.04118; paper
    not read, as peft's tuner.
    scalars  trained numbers for each group of layers
    tying    0: each layer is a group of its own; towards 1, neighbouring layers share
    """

    name = "tinylora"
    paper = "arXiv:2602.04118"
    config = "TinyLoraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "scalars": (1, 1024, "log")}
    size_field = "scalars"
    formula = "W' = W + U_r S_r^(1/2) (sum_i v_i P_i) S_r^(1/2) V_r^T, P_i random and frozen"

    scalars: int = 64
    rank: int = 2
    tying: float = 0.0
    projection_seed: int = 42

    def settings(self, shape: Shape) -> dict[str, Any]:
        more = {"weight_tying": self.tying, "projection_seed": self.projection_seed}
        return {"r": self.rank, "u": self.scalars} | more

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):  # each layer gets hold of the vector it uses, and of no other
            key = layer._tinylora_v_key[ADAPTER]
            own = nn.ParameterDict({key: layer.tinylora_v[ADAPTER][key]})
            layer.tinylora_v = nn.ModuleDict({ADAPTER: own})

    def count(self, net: Network) -> int:
        layers = len(self.layers(net))
        groups = max(1, round(layers * (1 - self.tying)))
        size = max(1, layers // groups)
        return self.scalars * len({min(i // size, groups - 1) for i in range(layers)})
