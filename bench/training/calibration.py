"""Batches for methods whose start is computed from data (bench.method.Method.attach_data).

They come from the task's training pictures and from a random stream of their own, so a method that asks for them
moves nobody's draws, and no picture or prompt of the evaluation is seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from bench.core.rng import rng
from bench.objectives.batch import Batch
from bench.objectives.plain import plain

if TYPE_CHECKING:
    from torch import Tensor

    from bench.bases.base import Base
    from bench.method import Loss, Network
    from bench.tasks import Task

BATCHES = 4


def calibration(base: Base, task: Task, seed: int, batch: int, n: int = BATCHES) -> list[Loss]:
    """`n` losses, each of one batch of `batch` training pictures under the plain objective.

    Each is fixed: called twice, on two copies of a network, it puts the same question.
    """
    latents = base.encode(task.train_images).to(base.device)
    stream = rng("calibration", task.name, seed)
    order = torch.cat([torch.randperm(len(latents), generator=stream) for _ in range(-(-n * batch // len(latents)))])
    captions = [p.caption for p in task.train]

    def loss(index: Tensor) -> Loss:
        x0 = latents[index]
        t = base.schedule.draw(batch, stream).to(base.device)
        eps = torch.randn(batch, *base.latent_shape, generator=stream).to(base.device)
        texts = [captions[i] for i in index.tolist()]

        def of(net: Network) -> Tensor:
            with base.autocast():
                # By the network's own text side, which may be what is looked at.
                context = replace(base, net=net).encode_text(texts)
                return plain(net, Batch(x0, eps, t, context), base.schedule).mean()

        return of

    return [loss(index) for index in order[: n * batch].split(batch)]
