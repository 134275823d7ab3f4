"""PVeRA, through Hugging Face's peft, with draws that follow the step."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.method import Network, register
from bench.method.reparam import substream
from methods._peft import Shape, wrapped
from methods.vera import VeRA


@register
@dataclass(frozen=True)
class PVeRA(VeRA):
    """VeRA whose inner vector is drawn, while training, from a normal with trained mean and variance.

    Fillioux, Ferrante, Cournede, Vakalopoulou, Christodoulidis, "PVeRA: Probabilistic Vector-Based Random Matrix
    Adaptation", WACV 2026, arXiv:2512.07703. Inference and merging take the mean. The draws follow the run's own
    stream, layer and step, so that a gradient computed twice is the same and each seed of a board has its own.
    """

    name = "pvera"
    paper = "arXiv:2512.07703"
    config = "PveraConfig"
    revision = 1  # before, all seeds of a board drew alike
    formula = "y = W x + b * B z, z ~ N(mu, exp(v)), (mu, v) = d * A x"

    def size(self, shape: Shape) -> int:
        return shape[0] + 2 * self.rank

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        seed = substream(rng)
        for i, (_, layer) in enumerate(wrapped(net.denoiser)):
            layer.draw = (seed, i, 0)
            layer._reparametrize = MethodType(_drawn, layer)

    def step(self, net: Network, i: int, n: int) -> None:
        for k, (_, layer) in enumerate(wrapped(net.denoiser)):
            layer.draw = (layer.draw[0], k, i + 1)


def _drawn(layer: Any, mu: Tensor, logvar: Tensor, adapter: str) -> Tensor:
    if not layer.training:
        return mu
    # numpy, since vmap forbids torch's draws
    eps = torch.from_numpy(np.random.default_rng(layer.draw).standard_normal(mu.shape, dtype=np.float32))
    return mu + eps.to(mu) * torch.exp(0.5 * logvar)
