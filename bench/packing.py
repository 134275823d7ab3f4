"""Whether the seeds of a method can be trained side by side: stacked tensors, one network, torch.func's vmap(grad)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.method import Loss, Network, state
from bench.rng import rng

SPREAD = 0.02  # how far each seed's tensors lie from the start: far enough to leave a start of zeros
NEAR = 1e-3  # of a gradient's largest entry: two orders of summation differ by less


def packing_fault(net: Network, loss: Loss) -> str | None:
    """Why two sets of trainable tensors of `net` do not pack, in a few words; None when they do."""
    # Names of a wrapper's parameters, since a text-side method's loss begins before Network.forward.
    inner = _Lossy(net, loss)
    names = {f"net.{key}": p for key, p in state(net).items()}
    stream = rng("checks", "packs")
    stacked = {
        key: p + SPREAD * torch.randn(2, *p.shape, generator=stream).to(p) for key, p in names.items()
    }  # each (2, ...): the tensors of two seeds

    def of(tensors: dict[str, Tensor]) -> Tensor:
        return functional_call(inner, tensors)

    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # vmap has no rule for the fused attention
        warnings.simplefilter("ignore")  # "performance drop": only whether it is right is asked here
        alone = [_gradients(of, {key: p[i] for key, p in stacked.items()}) for i in range(2)]
        try:
            packed: Any = vmap(grad(of), randomness="error")(stacked)
        except Exception as error:  # whatever a method's code meets under vmap is the answer
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    for key in stacked:
        for i in range(2):
            gap = (packed[key][i] - alone[i][key]).abs().max().item()
            if not gap <= NEAR * max(alone[i][key].abs().max().item(), 1e-6):
                return f"the gradient of {key.removeprefix('net.')} is off by {gap:.2g}"
    return None


def _gradients(of: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By plain autograd, as a seed trained by itself gets them."""
    leaves = {key: p.clone().requires_grad_() for key, p in tensors.items()}
    found = torch.autograd.grad(of(leaves), list(leaves.values()), allow_unused=True)
    return {key: torch.zeros_like(p) if g is None else g for (key, p), g in zip(leaves.items(), found, strict=True)}


class _Lossy(nn.Module):
    """A loss as a module, so that functional_call can swap the network's tensors."""

    def __init__(self, net: Network, loss: Loss):
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self) -> Tensor:
        return self.loss(self.net)
