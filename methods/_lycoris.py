"""The two tuners that peft took from LyCORIS."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from bench.method import Network
from methods._lowrank import LowRankTuner
from methods._peft import ADAPTER, wrapped


@dataclass(frozen=True)
class Lycoris(LowRankTuner):
    """LoHa and LoKr; peft's forward draws a random number for each layer, even where nothing is dropped."""

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):
            layer.forward = MethodType(_undropped, layer)


def _undropped(layer: Any, x: Tensor) -> Tensor:
    y = layer.base_layer(x)
    return y + layer._get_delta_activations(ADAPTER, x).to(y.dtype)
