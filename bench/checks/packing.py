"""Whether the seeds of a method can be trained side by side: stacked tensors, one network, torch.func's vmap(grad)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.checks.arena import Arena
from bench.checks.where import where
from bench.core.rng import rng
from bench.method import Loss, Method, Network, state

SPREAD = 0.02  # how far each seed's tensors lie from the start: far enough to leave a start of zeros
# Of the largest gradient: what two orders of summation may differ by, in float64 and in float32. The latter is coarse,
# since rounding may carry a ReLU over its kink.
NEAR = {torch.float64: 1e-6, torch.float32: 2e-2}


def packing_fault(net: Network, arena: Arena, method: Method) -> str | None:
    """Why two sets of trainable tensors of `net` do not pack, in a few words; None when they do."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # vmap has no rule for the fused attention
        warnings.simplefilter("ignore")  # "performance drop": only whether it is right is asked here
        wide = replace(arena, x=arena.x.double(), context=arena.context.double(), target=arena.target.double())
        try:
            of, stacked, alone = _both(copy.deepcopy(net).double(), wide.run, wide.target)
        except (RuntimeError, TypeError):  # a method, or a base, that names its types
            of, stacked, alone = _both(net, arena.run, arena.target)
        try:
            packed: Any = vmap(grad(of), randomness="error")(stacked)
        except Exception as error:  # whatever a method's code meets under vmap is the answer
            at = where(error, method)
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{f' ({at})' if at else ''}"
    most = max(g.abs().max().item() for one in alone for g in one.values())
    for key, p in stacked.items():
        for i in range(2):
            gap = (packed[key][i] - alone[i][key]).abs().max().item()
            if not gap <= NEAR[p.dtype] * most:
                return f"the gradient of {key.removeprefix('net.')} is off by {gap:.2g}"
    return None


def _both(net: Network, run: Callable[[Network], Tensor], target: Tensor) -> tuple[Any, dict[str, Tensor], list]:
    """The loss as a function of tensors, the stacked tensors of two seeds, and the gradients of each seed alone."""

    def loss(net: Network) -> Tensor:
        return (run(net) - target).square().mean()

    # Names of a wrapper's parameters, since a text-side method's loss begins before Network.forward.
    inner = _Lossy(net, loss)

    def of(tensors: dict[str, Tensor]) -> Tensor:
        return functional_call(inner, tensors)

    stream = rng("checks", "packs")
    names = {f"net.{key}": p for key, p in state(net).items()}
    stacked = {
        key: p + SPREAD * torch.randn(2, *p.shape, generator=stream).to(p) for key, p in names.items()
    }  # each (2, ...)
    return of, stacked, [_gradients(of, {key: p[i] for key, p in stacked.items()}) for i in range(2)]


def _gradients(of: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By plain autograd, as a seed trained by itself gets them."""
    leaves = {key: p.clone().requires_grad_() for key, p in tensors.items()}
    gradients = torch.autograd.grad(of(leaves), list(leaves.values()), allow_unused=True)
    return {key: torch.zeros_like(p) if g is None else g for (key, p), g in zip(leaves.items(), gradients, strict=True)}


class _Lossy(nn.Module):
    """A loss as a module, so that functional_call can swap the network's tensors."""

    def __init__(self, net: Network, loss: Loss):
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self) -> Tensor:
        return self.loss(self.net)
