"""SHiRA: peft's choice of entries, with a forward of our own that can be packed."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import Network, register
from methods._peft import ADAPTER, Shape, Tuner, wrapped


@register
@dataclass(frozen=True)
class SHiRA(Tuner):
    """Train the entries of the weight at places drawn once from projection_seed, as many as LoRA of this rank has.

    Bhardwaj, Pandey, Priyadarshi, Ganapathy, Kadambi, Esteves, Borse, Whatmough, Garrepalli, van Baalen, Teague,
    Nagel, "Sparse High Rank Adapters", NeurIPS 2024, arXiv:2406.13175, section 3.1 (SHiRA-Rand). The rank stops where
    all entries are trained.
    """

    name = "shira"
    paper = "arXiv:2406.13175, section 3.1"
    config = "ShiraConfig"
    solid = True
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "W' = W + S, S sparse at fixed random places"

    rank: int = 4
    projection_seed: int = 0

    def _rank(self, shape: Shape) -> int:
        return min(self.rank, shape[0] * shape[1] // sum(shape))

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self._rank(shape), "random_seed": self.projection_seed}

    def size(self, shape: Shape) -> int:
        return self._rank(shape) * sum(shape)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):  # peft's sparse tensors have no batched form, and torch warns of them
            layer.get_delta_weight = MethodType(_entries, layer)
            layer.forward = MethodType(_with_entries, layer)


def _entries(layer: Any, adapter: str) -> Tensor:
    places = layer.shira_indices[adapter].long().to(layer.weight.device)
    values = layer.shira_weight[adapter]
    # In the dtype of what is trained: over a base in bfloat16 that is float32.
    return torch.zeros_like(layer.weight, dtype=values.dtype).index_put(tuple(places), values)


def _with_entries(layer: Any, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight + _entries(layer, ADAPTER), layer.bias)
