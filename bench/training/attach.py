"""A method attached as it is trained: where it works, what it trains in float32, the rest as the base has it.

One way for all that trains and for all that says what training takes (litmus run, litmus fit, litmus cost).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from bench.core.rng import rng
from bench.method import Loss, Method, Network, attached, floating
from bench.training.calibration import calibration

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.tasks import Task

T = TypeVar("T")


def attach(base: Base, method: Method, task: Task, seed: int, batch: int = 1, checkpointing: bool = False) -> Base:
    """A fork of `base` with `method` attached, on the device it works on, what is trained in float32.

    `batch` is that of the losses which a method with needs_data starts from; `checkpointing` computes activations again
    on the way back. Some starts (singular vectors, say) exist in float32 alone: a base in bfloat16 is widened for them.
    """
    return widening(lambda wide: _attach(base, method, task, seed, batch, checkpointing, wide))


def _attach(base: Base, method: Method, task: Task, seed: int, batch: int, checkpointing: bool, wide: bool) -> Base:
    tuned = base.fork()
    if wide:
        tuned.net.float()
    if checkpointing:
        tuned.net.denoiser.enable_gradient_checkpointing()  # pyright: ignore  (every denoiser of diffusers has it)
    tuned.net.trigger = base.trigger(task.identifier)
    if method.needs_data and base.execution_device is not None:
        tuned.net.to(base.execution_device)  # its first losses are the work of training
    losses = calibration(tuned, task, seed, batch) if method.needs_data else []
    dtype = floating(base.net.denoiser).dtype
    trainable(method, tuned.net, rng("init", seed), dtype, losses, wide)
    if base.execution_device is not None:
        tuned.net.to(base.execution_device)
    return tuned


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch's allocators report out of memory by `error`."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in MEMORY)


MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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
