"""What the tests of the examination share: a method without fault, and where it is tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.checks.arena import make_arena
from bench.method import Method
from bench.network.sites import sites


@dataclass(frozen=True)
class Scale(Method):
    """A method without fault: W' = W + b a^T at each attention layer, as wrappers of Linear."""

    name = "scale"
    paper = "none"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    size_field = "rank"

    rank: int = 2

    def start(self, shape, rng):
        return torch.randn(shape, generator=rng)

    def attach(self, net, rng):
        for path, layer in sites(net, "attn2").items():
            parent, _, child = path.rpartition(".")
            a = nn.Parameter(self.start((self.rank, layer.in_features), rng).to(layer.weight.device))
            setattr(net.get_submodule(parent), child, Wrapped(layer, a))

    def count(self, net):
        return sum(self.rank * (m.in_features + m.out_features) for m in sites(net, "attn2").values())

    @torch.no_grad()
    def merge(self, net):
        for path, module in list(net.named_modules()):
            if isinstance(module, Wrapped):
                parent, _, child = path.rpartition(".")
                module.base.weight += module.b @ module.a
                setattr(net.get_submodule(parent), child, module.base)


class Wrapped(nn.Module):
    base: Any
    a: Any

    def __init__(self, base, a):
        super().__init__()
        self.base, self.a = base, a  # a (r, in)
        self.b = nn.Parameter(a.new_zeros(base.out_features, len(a)))  # (out, r)

    def forward(self, x):
        return self.base(x) + (x @ self.a.T.to(x.dtype)) @ self.b.T.to(x.dtype)


@pytest.fixture(scope="session")
def scale() -> Any:
    """The class of a method that passes every check, to plant a fault in."""
    return Scale


@pytest.fixture(scope="module")
def place():
    return make_arena()
