"""The one training loop, the same for every method."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.objectives import OBJECTIVES, Batch, Objective
from bench.objectives.plain import plain
from bench.training.batches import Batches, Captioned
from bench.training.extras import Extras

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.method import Method, Network
    from bench.protocol.models import Train
    from bench.tasks import Task

WARMUP = 10  # steps over which the learning rate rises, or a tenth of the run if that is less
CHECK_EVERY = 10  # steps between two looks at the loss: each look waits for the device
# A run has diverged when its loss (mean of the last CHECK_EVERY steps) is this many times that at the start: the
# table's, or where an objective's scale is its own the larger of the table's and the first step's.
DIVERGENCE_FACTOR = 10.0
EVAL_TABLE_SIZE = 16  # (picture, time, noise) triples whose mean loss is read before, during and after training

Progress = Callable[[int, int, float], None]


class Diverged(RuntimeError):
    """Training left the region where numbers mean anything. `curve` holds what was seen up to there."""

    def __init__(self, line: str, curve: Curve | None = None):
        super().__init__(line)
        self.curve = curve or Curve()


@dataclass
class Curve:
    """Losses while training.

    steps    optimiser steps done when the tables were read, from 0
    train    mean loss of the table of training pictures, at these steps; heldout: of the others (empty: there are none)
    running  loss of each step's own batch
    seconds  spent in training steps, tables not counted
    paces    seconds per step, a mean for the (at most CHECK_EVERY) steps between two looks at the loss
    bytes_cuda  torch.cuda's peak over training steps, tables not counted; None on another device
    """

    steps: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    heldout: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    seconds: float = 0.0
    paces: list[float] = field(default_factory=list)
    bytes_cuda: int | None = None


def fit(
    tuned: Base,
    method: Method,
    task: Task,
    train: Train,
    *,
    lr: float,
    seed: int = 0,
    objective: Objective | str = "plain",
    extras: Extras | None = None,
    eval_every: int | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train what `method` has attached to `tuned.net`, in place, as `train` says (bench.protocol.models.Train).

    AdamW at a constant learning rate after a short warm-up. Data order, times and noise come from streams named by
    task and seed, so they are the same for every method of a block. Tables are read at the start, middle and end, or
    every `eval_every` steps. `progress` gets (step, total, loss) now and then. A method that trains nothing has its
    table read once.

    lr         of all groups that the method gives no rate of their own
    objective  an instance or its spec, "prior[weight=0.5]"; tables are read with the plain loss whatever it is
    extras     what the objective needs beside the batch (bench.evaluation.references.extras)

    Of `train`: gradients are averaged over `accumulate` batches for one step; `min_snr` is gamma of min-SNR weighting
    (Schedule.min_snr) and weighs no table; with `ema` the trained tensors end as their running mean, with which the
    last table is read. `dtype` and `checkpointing` are how `tuned` was loaded and attached.

    Raises LitmusError where bitsandbytes is asked for and missing, or the objective lacks what it needs, and Diverged
    for a loss that is not finite or DIVERGENCE_FACTOR times the start's.
    """
    base, net, steps, extras = tuned, tuned.net, train.steps, extras or Extras()
    goal = OBJECTIVES.read(objective) if isinstance(objective, str) else objective
    goal.require(extras.classes, extras.memory, extras.frozen)
    pictures = Captioned(base, [p.caption for p in task.train], base.encode(task.train_images).to(base.device))
    tables = {"train": _Table(base, pictures, task.name, seed)}
    if len(task.heldout):
        held = Captioned(base, [p.caption for p in task.heldout], base.encode(task.heldout_images).to(base.device))
        tables["heldout"] = _Table(base, held, task.name, seed)
    curve = Curve()

    def read(step: int) -> None:
        curve.steps.append(step)
        for name, table in tables.items():
            getattr(curve, name).append(table.loss(base))

    read(0)
    trained = [p for p in net.parameters() if p.requires_grad]
    if not method.trains or not trained:
        return curve
    frozen = extras.frozen if goal.needs.frozen else None
    batches = Batches(base, pictures, goal.needs, extras, task.name, seed, train)
    optimiser = OPTIMISERS[train.optimizer](method.groups(net, lr), lr, train.weight_decay)
    mean = None if train.ema is None else _Mean(trained, train.ema)
    if train.compile:
        net.denoiser.compile()
    warmup = max(1, min(WARMUP, steps // 10))
    rise = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min(1.0, (i + 1) / warmup))
    every = eval_every or max(1, math.ceil(steps / 2))
    running: list[Tensor] = []
    net.train()
    allocated = _Allocated(base.device)
    start = look = time.perf_counter()
    for i in range(steps):
        loss = torch.zeros((), device=base.device)
        for _ in range(train.accumulate):
            with base.autocast():
                part = goal(net, batches.draw(), base.schedule, frozen).mean() / train.accumulate
            part.backward()
            loss = loss + part.detach()
        penalise(method, net)
        torch.nn.utils.clip_grad_norm_(trained, train.clip, foreach=True)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        rise.step()
        method.step(net, i, steps)
        running.append(loss)
        done = i + 1
        if mean is not None:
            mean.update()
            if done == steps:
                mean.settle()
                method.project(net)
        if done % CHECK_EVERY == 0 or done == steps:
            recent = torch.stack(running[-CHECK_EVERY:]).mean().item()  # waits for the device, so the clock is true
            curve.paces.append((time.perf_counter() - look) / ((done - 1) % CHECK_EVERY + 1))
            first = curve.train[0] if goal.plain_scale else max(curve.train[0], running[0].item())
            if not recent <= DIVERGENCE_FACTOR * first:  # also true for nan
                curve.running = torch.stack(running).tolist()
                raise Diverged(f"diverged: loss {recent:.3g} at step {done}, {first:.3g} at the start", curve)
            if progress:
                progress(done, steps, recent)
            look = time.perf_counter()
        if done % every == 0 or done == steps:
            pause = time.perf_counter()
            curve.seconds += pause - start
            curve.bytes_cuda = allocated.most()
            net.eval()
            read(done)
            net.train()
            allocated.begin()
            start = time.perf_counter()
            look += start - pause
    net.eval()
    curve.running = torch.stack(running).tolist()
    if not all(map(math.isfinite, curve.train + curve.heldout)):
        raise Diverged("diverged: the loss after training is not finite", curve)
    return curve


def penalise(method: Method, net: Network) -> None:
    """Add the gradient of the method's penalty to those that are there: once for each optimiser step."""
    if (extra := method.penalty(net)) is not None:
        extra.backward()


def _adamw(groups: list[dict[str, Any]], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)


def _adamw8bit(groups: list[dict[str, Any]], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022, arXiv:2110.02861."""
    try:
        bitsandbytes: Any = importlib.import_module("bitsandbytes")
    except ImportError:
        raise LitmusError("8-bit Adam needs bitsandbytes: pip install 'peft-litmus[quantised]'") from None
    return bitsandbytes.optim.AdamW8bit(groups, lr=lr, weight_decay=weight_decay)


OPTIMISERS = {"adamw": _adamw, "adamw8bit": _adamw8bit}


class _Allocated:
    """The peak of torch.cuda over stretches of work: each begins with `begin`, the first at once."""

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0
        self.begin()

    def begin(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def most(self) -> int | None:
        """The most of this stretch and those before; None where torch.cuda is not what holds the tensors."""
        if self.device.type != "cuda":
            return None
        self.bytes = max(self.bytes, torch.cuda.max_memory_allocated(self.device))
        return self.bytes


class _Mean:
    """The running mean of the trained tensors, its decay rising as (1 + n) / (10 + n) as in diffusers' EMAModel."""

    def __init__(self, tensors: Sequence[Tensor], decay: float):
        self.tensors, self.decay, self.n = tensors, decay, 0
        self.mean = [x.detach().clone() for x in tensors]

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.n) / (10 + self.n)) if self.n else 0.0
        self.n += 1
        torch._foreach_lerp_(self.mean, [x.detach() for x in self.tensors], 1 - decay)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the mean into the network."""
        for x, mean in zip(self.tensors, self.mean, strict=True):
            x.copy_(mean)


class _Table:
    """A fixed table of (picture, t, eps): every reading of it is the same question.

    Times are spread evenly over the schedule. Tables of one task and seed share their times and noise, so the
    difference between training and held-out pictures is due to the pictures.
    """

    def __init__(self, base: Base, pictures: Captioned, task: str, seed: int):
        self.pictures = pictures
        n, total = len(pictures.latents), len(base.schedule)
        self.index = torch.arange(EVAL_TABLE_SIZE) % n
        self.t = ((torch.arange(EVAL_TABLE_SIZE) + 0.5) * total / EVAL_TABLE_SIZE).long().to(base.device)
        self.eps = torch.randn(EVAL_TABLE_SIZE, *base.latent_shape, generator=rng("table", task, seed)).to(base.device)

    @torch.no_grad()
    def loss(self, base: Base) -> float:
        """Mean loss over the table, with the network as it is."""
        batch = Batch(self.pictures.latents[self.index], self.eps, self.t, self.pictures.context(self.index))
        with base.autocast():
            return plain(base.net, batch, base.schedule).mean().item()
