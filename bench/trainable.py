"""A method attached in the precision that training needs: what it trains in float32, the rest as the base has it.

One way for all that trains and for all that says what training takes (litmus run, litmus fit, litmus cost).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from bench.method import Loss, Method, Network, attached, floating

T = TypeVar("T")


def trainable(
    method: Method,
    net: Network,
    rng: torch.Generator,
    dtype: torch.dtype,
    losses: Sequence[Loss] = (),
    wide: bool = False,
) -> Network:
    """`net` itself with `method` attached and what is trained in float32; `dtype` is that of the frozen base.

    `wide` says that `net` was widened to float32 for the start (see `widening`): what is frozen becomes `dtype` again.
    """
    attached(method, net, rng, losses)
    for p in net.parameters():
        if p.requires_grad:
            p.data = p.data.float()
        elif wide and p.is_floating_point():
            p.data = p.data.to(dtype)
    return net


def widening(make: Callable[[bool], T]) -> T:
    """`make(False)`, or where that meets a start that exists in float32 alone (singular vectors, say) `make(True)`."""
    try:
        return make(False)
    except RuntimeError as error:
        if "BFloat16" not in str(error):
            raise
    return make(True)


def prepared(
    method: Method, net: Network, stream: Callable[[], torch.Generator], checkpointing: bool = False
) -> Network:
    """A copy of `net` with `method` attached as it is trained, by the chance of `stream()`."""
    dtype = floating(net.denoiser).dtype

    def make(wide: bool) -> Network:
        own = copy.deepcopy(net)
        if wide:
            own.float()
        if checkpointing:
            own.denoiser.enable_gradient_checkpointing()  # pyright: ignore  (every denoiser of diffusers has it)
        return trainable(method, own, stream(), dtype, wide=wide)

    return widening(make)
