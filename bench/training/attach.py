"""A method attached as it is trained: where it works, what it trains in float32, the rest as the base has it.

`attached_copy` is the one way for all that trains and all that says what training takes (litmus run, fit, cost, and
reading an adapter back); `attach` is that for a task on a base. bench.method.attached is what both stand on: it freezes
a network and calls the method, in place, and no more; the examination (bench.checks.arena) tries methods with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from bench.core.rng import rng
from bench.method import Loss, Method, Network, attached, floating
from bench.training.calibration import calibration

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.tasks import Task

T = TypeVar("T")


def attached_copy(
    net: Network,
    method: Method,
    stream: Callable[[], torch.Generator],
    *,
    trigger: tuple[int, ...] | None = None,
    losses: Callable[[Network], Sequence[Loss]] | None = None,
    checkpointing: bool = False,
    device: torch.device | None = None,
    around: Callable[[Callable[[], object]], object] = lambda work: work(),
) -> Network:
    """A copy of the frozen `net` with `method` attached: what is trained in float32, the rest in the dtype of `net`.

    Some starts (singular vectors, say) exist in float32 alone: a network in bfloat16 is widened for them (`widening`).

    stream         gives the start's chance, anew for each try
    trigger        token ids of the identifier; None: those of `net`
    losses         what a method with needs_data starts from, for the copy before the method is on it
    checkpointing  computes activations again on the way back
    device         where the copy ends; a method with needs_data gets it there beforehand
    around         calls what attaches, for a clock
    """
    dtype = floating(net.denoiser).dtype

    def make(wide: bool) -> Network:
        own = copy.deepcopy(net)
        if wide:
            own.float()
        if checkpointing:
            own.denoiser.enable_gradient_checkpointing()  # pyright: ignore  (every denoiser of diffusers has it)
        if trigger is not None:
            own.trigger = trigger
        if method.needs_data and device is not None:
            own.to(device)  # its first losses are the work of training
        data = losses(own) if losses and method.needs_data else ()

        def put() -> None:
            attached(method, own, stream(), data)
            for p in own.parameters():
                if p.requires_grad:
                    p.data = p.data.float()
                elif wide and p.is_floating_point():
                    p.data = p.data.to(dtype)

        around(put)
        return own if device is None else own.to(device)

    return widening(make)


def attach(base: Base, method: Method, task: Task, seed: int, batch: int = 1, checkpointing: bool = False) -> Base:
    """A fork of `base` with `method` attached for `task`, on the device it works on (see `attached_copy`).

    `batch` is that of the losses which a method with needs_data starts from.
    """

    def losses(net: Network) -> Sequence[Loss]:
        return calibration(replace(base, net=net), task, seed, batch)

    trigger, stream = base.trigger(task.identifier), lambda: rng("init", seed)
    how: dict[str, Any] = {
        "trigger": trigger,
        "losses": losses,
        "checkpointing": checkpointing,
        "device": base.execution_device,
    }
    return replace(base, net=attached_copy(base.net, method, stream, **how))


def widening(make: Callable[[bool], T]) -> T:
    """`make(False)`, or where that meets a start that exists in float32 alone (singular vectors, say) `make(True)`."""
    try:
        return make(False)
    except RuntimeError as error:
        if "BFloat16" not in str(error):
            raise
    return make(True)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether `error` is one of torch's allocators that found no memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in MEMORY)


MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
