"""The examination of a family of denoisers, on its toy: its call, its roles, and its blocks' positions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.bases.toy_transformers import toy_transformer
from bench.checks.result import Result, attempt
from bench.core.rng import rng
from bench.method import Network
from bench.network.calls import shapes
from bench.network.family import FAMILIES, Family
from bench.network.sites import PAIRS, bridge, features, sites, ways


def _inputs(net: Network) -> tuple[Tensor, Tensor, Tensor]:
    channels, side, wide = shapes(net.denoiser)
    stream = rng("check family")
    x = torch.randn(2, channels, side, side, generator=stream)
    return x, torch.tensor([100, 700]), torch.randn(2, 5, wide, generator=stream)


def is_called(family: Family, net: Network) -> None:
    """The toy is of the family, and its prediction has the shape of its latents and hangs on all that it is given."""
    assert family.fits(net.denoiser), f"its toy is a {type(net.denoiser).__name__}, which fits() does not know"
    x, t, context = _inputs(net)
    with torch.no_grad():
        y = net(x, t, context)
        assert y.shape == x.shape, f"call gives {tuple(y.shape)} for latents of {tuple(x.shape)}"
        for what, given in {"latents": (x + 1, t, context), "times": (x, t + 200, context)}.items():
            assert not net(*given).allclose(y), f"the prediction does not hang on the {what}"
        assert not net(x, t, context + 1).allclose(y), "the prediction does not hang on the text"
        one = net(x[1:], t[1:], context[1:])
    assert one.allclose(y[1:], rtol=1e-3, atol=1e-4), "a row of a batch is predicted otherwise than alone"


def roles_are_there(family: Family, net: Network) -> None:
    """Each class of blocks of which the toy has one has all the layers that its roles name."""
    for block, roles in family.roles.items():
        own = [m for m in net.denoiser.modules() if type(m).__name__ == block]
        for role, paths in roles.items() if own else ():
            there = any(_has(m, path) for m in own for path in paths)
            assert there, f"no {block} of the toy has {' or '.join(paths)}, which should play {role}"


def _has(block: nn.Module, path: str) -> bool:
    try:
        block.get_submodule(path)
    except AttributeError:
        return False
    return True


def positions_are_its_own(family: Family, net: Network) -> None:
    """A bypass that adds nothing leaves the prediction to the last digit, and one that adds something changes it."""
    if not family.insides:
        return
    given = _inputs(net)
    with torch.no_grad():
        y = net(*given)
        for source, target in PAIRS:
            if not (sites(net, source, optional=True) and sites(net, target, optional=True)):
                continue
            for value in (0.0, 0.5):
                bridged = copy.deepcopy(net)
                for block in ways(bridged, source, target).values():
                    bridge(block, source, target, _constant(block, source, target, value), "tried")
                same = bridged(*given).equal(y)
                way = f"from {source} to {target}"
                assert value or same, f"a bypass {way} that adds nothing changes the prediction"
                assert not (value and same), f"what a bypass adds {way} is lost"


def _constant(block: nn.Module, source: str, target: str, value: float) -> nn.Module:
    a, b = features(block, source), features(block, target)
    made: Any = nn.Conv2d(a, b, 1) if source.startswith("res") else nn.Linear(a, b)
    with torch.no_grad():
        made.weight.zero_()
        made.bias.copy_(value * torch.linspace(-1, 1, b))  # a norm would take away what all features have
    return made


Check = Callable[[Family, Network], None]
ALL: tuple[Check, ...] = (is_called, roles_are_there, positions_are_its_own)


def examine_family(name: str) -> list[Result]:
    """Every check on the family called `name`. LitmusError for an unknown one."""
    family = FAMILIES.find(name)()
    tried = [attempt(check, family, toy_transformer(name)) for check in ALL]
    return [replace(one, method=f"family {name}") for one in tried]
