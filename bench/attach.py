"""A method on a copy of a base, ready to train: where it works, in the precision that training needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.calibration import calibration
from bench.method import floating
from bench.rng import rng
from bench.trainable import trainable, widening

if TYPE_CHECKING:
    from bench.bases import Base
    from bench.method import Method
    from bench.tasks import Task


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
    if method.needs_data and base.place is not None:
        tuned.net.to(base.place)  # its first losses are the work of training
    losses = calibration(tuned, task, seed, batch) if method.needs_data else []
    dtype = floating(base.net.denoiser).dtype
    trainable(method, tuned.net, rng("init", seed), dtype, losses, wide)
    if base.place is not None:
        tuned.net.to(base.place)
    return tuned


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch's allocators mean want of memory by `error`."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in MEMORY)


MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
