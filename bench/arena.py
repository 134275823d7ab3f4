"""Where a method is tried: one small frozen network, fixed inputs, and a short training run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import Method, Network, attached
from bench.rng import rng

STEPS = 6  # of AdamW at the method's own rate: enough for a layer behind a zero layer to move


@dataclass(frozen=True)
class Arena:
    """Where a method is tried: a factory of one and the same frozen network, and what to feed it.

    x, target (B, C, H, W); t (B,); context (B, L, D)
    """

    make: Callable[[], Network]
    x: Tensor
    t: Tensor
    context: Tensor
    target: Tensor

    def run(self, net: Network) -> Tensor:
        return net(self.x, self.t, self.context)

    def loss(self, net: Network) -> Tensor:
        return (self.run(net).float() - self.target).square().mean()


def arena(make_net: Callable[[], Network] | None = None) -> Arena:
    """An Arena of `make_net` (the toy U-Net without it), with inputs in the shapes that its denoiser's config asks for.

    `make_net` must give the same weights each time, and bare shapes under `torch.device("meta")`.
    """
    from bench.bases.toy import toy_network

    build = make_net or toy_network
    built = build()

    def make() -> Network:  # a copy is made sooner than a network
        return build() if torch.get_default_device().type == "meta" else copy.deepcopy(built)

    config: Any = built.denoiser.config
    channels, side, wide = config.in_channels, config.sample_size, config.cross_attention_dim
    stream = rng("checks")
    x, target = (torch.randn(2, channels, side, side, generator=stream) for _ in range(2))
    return Arena(make, x, torch.tensor([1, 500]), torch.randn(2, 3, wide, generator=stream), target)


def fresh(method: Method, place: Arena, seed: int = 0) -> Network:
    """A network with `method` attached and untrained."""
    return attached(method, place.make(), torch.Generator().manual_seed(seed))


@torch.enable_grad()
def train(method: Method, place: Arena, net: Network, steps: int = STEPS) -> None:
    """A few steps of AdamW on one batch, at the method's own learning rate."""
    groups = method.groups(net, method.lr)
    if not method.trains:
        return
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    for i in range(steps):
        optimiser.zero_grad()
        place.loss(net).backward()
        optimiser.step()
        method.step(net, i, steps)
    net.zero_grad(set_to_none=True)


def trained(method: Method, place: Arena) -> Network:
    """A network with `method` attached and trained for STEPS steps."""
    net = fresh(method, place)
    train(method, place, net)
    return net
