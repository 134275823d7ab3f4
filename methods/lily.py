"""Lily, through Hugging Face's peft, with experts shared by name as well as by shape."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.method import Network, register
from methods._lowrank import LowRankTuner
from methods._peft import ADAPTER, Shape, shape_of, wrapped


@register
@dataclass(frozen=True)
class Lily(LowRankTuner):
    """LoRA with an A of each layer's own and experts B that all layers of one name and shape share.

    Zhong, Zhao, Zhou, "Low-Rank Interconnected Adaptation across Layers", Findings of ACL 2025, arXiv:2407.09946; paper
    not read, as peft's tuner. A router weighs the experts by the mean over all tokens of the batch, as peft does it, so
    a sample's result hangs a little on its neighbours.
    experts  how many B
    """

    name = "lily"
    paper = "arXiv:2407.09946"
    config = "LilyConfig"
    formula = "y = W x + scale (sum_e p_e B_e) A x, p = softmax(R A x)"
    mergeable = False  # the router looks at the input

    alpha: None = None
    experts: int = 2
    scale: float = 1.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "num_B": self.experts, "scaling": self.scale}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        shared: dict[tuple[str, Shape], nn.Parameter] = {}
        for path, layer in wrapped(net.denoiser):  # peft has shared one B, still 0, between all weights of one shape
            kin = _kin(path), shape_of(layer.get_base_layer())
            # Modules apart and the tensor shared: functional_call cannot put a shared module back as it was.
            layer.lily_B[ADAPTER] = own = copy.deepcopy(layer.lily_B[ADAPTER])
            own.weight = shared.setdefault(kin, own.weight)

    def count(self, net: Network) -> int:
        layers = self.layers(net)
        shared = {(_kin(path), shape_of(layer)) for path, layer in layers.items()}
        own = sum(self.rank * (shape_of(layer)[1] + self.experts) for layer in layers.values())
        return own + sum(self.experts * self.rank * out for _, (out, _) in shared)


def _kin(path: str) -> str:
    """The last name of a path with the numbers after it: to_q, to_out.0."""
    found = re.search(r"[^.]+(\.\d+)*$", path)
    return found.group() if found else path
