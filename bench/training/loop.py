"""The one training loop, the same for every method."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.objectives import NEEDS_CLASSES, OBJECTIVES, Batch
from bench.objectives.plain import plain

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.method import Method, Network
    from bench.network.calls import Text
    from bench.tasks import Task

WARMUP = 10  # steps over which the learning rate rises, or a tenth of the run if that is less
LOOK = 10  # steps between two looks at the loss: each look waits for the device
WORSE = 10.0  # a run whose loss (mean of the last LOOK steps) is this many times the table's at the start has diverged
ENTRIES = 16  # of a loss table, about

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
    paces    seconds per step, a mean for the (at most LOOK) steps between two looks at the loss
    bytes_cuda  torch.cuda's peak over training steps, tables not counted; None on another device
    """

    steps: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    heldout: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    seconds: float = 0.0
    paces: list[float] = field(default_factory=list)
    bytes_cuda: int | None = None


@dataclass(frozen=True)
class ClassPictures:
    """Pictures of the plain class by the frozen base, for prior preservation: scaled latents (K, C, h, w), prompts."""

    latents: Tensor
    prompts: list[str]


def fit(
    base: Base,
    method: Method,
    task: Task,
    *,
    lr: float,
    steps: int,
    batch: int = 4,
    objective: str = "plain",
    seed: int = 0,
    clip: float = 1.0,
    weight_decay: float = 0.01,
    eval_every: int | None = None,
    classes: ClassPictures | None = None,
    progress: Progress | None = None,
    accumulate: int = 1,
    min_snr: float | None = None,
    ema: float | None = None,
    optimizer: str = "adamw",
    compiled: bool = False,
) -> Curve:
    """Train what `method` has attached to `base.net` (a fork's), in place.

    AdamW at a constant learning rate after a short warm-up. Data order, times and noise come from streams named by
    task and seed, so they are the same for every method of a block. Tables are read at the start, middle and end, or
    every `eval_every` steps. `progress` gets (step, total, loss) now and then. A method that trains nothing has its
    table read once.

    accumulate  batches whose gradients are averaged for one step
    min_snr     gamma of min-SNR weighting (see Schedule.min_snr); tables are never weighted
    ema         the trained tensors end as their running mean with this decay, and the last table is read with it
    optimizer   "adamw", or "adamw8bit" whose moments are held in 8 bits (bitsandbytes)
    compiled    the denoiser goes through torch.compile

    Raises LitmusError where bitsandbytes is asked for and missing, Diverged for a loss that is not finite or ten times
    the start's, ValueError for a prior objective without `classes`.
    """
    net = base.net
    if objective in NEEDS_CLASSES and classes is None:
        raise ValueError(f"objective {objective!r} needs class pictures: evaluator.class_pictures(frozen, task, seed)")
    pictures = _Pictures(base, [p.caption for p in task.train], base.encode(task.train_images).to(base.device))
    tables = {"train": _Table(base, pictures, task.name, seed)}
    if len(task.heldout):
        held = _Pictures(base, [p.caption for p in task.heldout], base.encode(task.heldout_images).to(base.device))
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
    both = classes if objective in NEEDS_CLASSES else None
    batches = _Batches(base, pictures, both, task.name, seed, steps * accumulate, batch, min_snr)
    optimiser = OPTIMISERS[optimizer](method.groups(net, lr), lr, weight_decay)
    mean = None if ema is None else _Mean(trained, ema)
    if compiled:
        net.denoiser.compile()
    warmup = max(1, min(WARMUP, steps // 10))
    rise = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min(1.0, (i + 1) / warmup))
    every = eval_every or max(1, math.ceil(steps / 2))
    loss_of = OBJECTIVES[objective]
    running: list[Tensor] = []
    net.train()
    allocated = _Allocated(base.device)
    start = look = time.perf_counter()
    for i in range(steps):
        loss = torch.zeros((), device=base.device)
        for _ in range(accumulate):
            with base.autocast():
                part = loss_of(net, batches.draw(), base.schedule).mean() / accumulate
            part.backward()
            loss = loss + part.detach()
        penalise(method, net)
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, clip, foreach=True)
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
        if done % LOOK == 0 or done == steps:
            recent = torch.stack(running[-LOOK:]).mean().item()  # waits for the device, so that the clock is true
            curve.paces.append((time.perf_counter() - look) / ((done - 1) % LOOK + 1))
            if not recent <= WORSE * curve.train[0]:  # also true for nan
                curve.running = torch.stack(running).tolist()
                raise Diverged(f"diverged: loss {recent:.3g} at step {done}, {curve.train[0]:.3g} at the start", curve)
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


class _Pictures:
    """Latents (N, C, h, w) with their captions' text states (N, L, D), encoded once unless the text side is trained."""

    def __init__(self, base: Base, captions: list[str], latents: Tensor):
        self.base, self.captions, self.latents = base, captions, latents
        text = base.net.text
        self.fixed = None
        if text is None or not any(p.requires_grad for p in text.parameters()):
            with torch.no_grad():
                self.fixed = base.encode_text(captions)

    def context(self, index: Tensor) -> Text:
        """What the denoiser is told of the pictures `index` (B,)."""
        if self.fixed is not None:
            return self.fixed[index]
        return self.base.encode_text([self.captions[i] for i in index.tolist()])


class _Batches:
    """Batch after batch from streams named by task and seed: no method can move another's draws."""

    def __init__(
        self,
        base: Base,
        pictures: _Pictures,
        classes: ClassPictures | None,
        task: str,
        seed: int,
        steps: int,
        batch: int,
        min_snr: float | None = None,
    ):
        self.base, self.size, self.at, self.gamma = base, batch, 0, min_snr
        self.sources = [(pictures, self._order(len(pictures.latents), steps * batch, "order", task, seed))]
        if classes is not None:
            other = _Pictures(base, classes.prompts, classes.latents.to(base.device))
            self.sources.append((other, self._order(len(other.latents), steps * batch, "class order", task, seed)))
        self.times = [rng(p, task, seed) for p in ("times", "class times")]
        self.noise = [rng(p, task, seed) for p in ("noise", "class noise")]

    @staticmethod
    def _order(n: int, draws: int, *stream: Any) -> Tensor:
        """(draws,) indices below n: shuffled epochs, so that every picture comes equally often."""
        generator = rng(*stream)
        return torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-draws // n))])[:draws]

    def draw(self) -> Batch:
        """The next batch, on the base's device."""
        parts = []
        for (pictures, order), times, noise in zip(self.sources, self.times, self.noise, strict=False):
            index = order[self.at : self.at + self.size]
            eps = torch.randn(self.size, *self.base.latent_shape, generator=noise)
            t = self.base.schedule.draw(self.size, times)
            device = self.base.device
            weight = None if self.gamma is None else self.base.schedule.min_snr(t, self.gamma).to(device)
            drawn = (pictures.latents[index], eps.to(device), t.to(device), pictures.context(index))
            parts.append(Batch(*drawn, weight=weight))
        self.at += self.size
        return replace(parts[0], classes=parts[1]) if len(parts) > 1 else parts[0]


class _Table:
    """A fixed table of (picture, t, eps): every reading of it is the same question.

    Times are spread evenly over the schedule. Tables of one task and seed share their times and noise, so the
    difference between training and held-out pictures is due to the pictures.
    """

    def __init__(self, base: Base, pictures: _Pictures, task: str, seed: int):
        self.pictures = pictures
        n, total = len(pictures.latents), len(base.schedule)
        self.index = torch.arange(ENTRIES) % n
        self.t = ((torch.arange(ENTRIES) + 0.5) * total / ENTRIES).long().to(base.device)
        self.eps = torch.randn(ENTRIES, *base.latent_shape, generator=rng("table", task, seed)).to(base.device)

    @torch.no_grad()
    def loss(self, base: Base) -> float:
        """Mean loss over the table, with the network as it is."""
        batch = Batch(self.pictures.latents[self.index], self.eps, self.t, self.pictures.context(self.index))
        with base.autocast():
            return plain(base.net, batch, base.schedule).mean().item()
