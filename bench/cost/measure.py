"""The cost of one method on one network, under the names that a record carries."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from bench.core.device import settled
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.cost.flops import flops
from bench.cost.memory import module_tensors, peak
from bench.cost.scalars import bytes_disk, figures
from bench.cost.speed import interleaved
from bench.method import Method, Network, load_state, quantised, state
from bench.network.calls import Context, Text
from bench.training.attach import attached_copy, widening
from bench.training.loop import penalise


def measuring_device(asked: str | None = None) -> torch.device:
    """Where a step is measured: as bench.core.device.working_device, of the two kinds that this package can count on.

    LitmusError where another one is asked for; where it is only the default, the CPU.
    """
    device = settled(asked or "")
    if device.type in ("cpu", "cuda"):
        return device
    if asked:
        raise LitmusError(f"memory is measured on cpu and cuda, not on {device}: --device cpu")
    return torch.device("cpu")


@dataclass(frozen=True)
class Example:
    """One training batch as the denoiser sees it: x (B, C, H, W), t (B,), context (B, L, D) or a Context.

    With `ids` (B, L) a network whose text side is trained makes the context itself, at its own cost.
    """

    x: Tensor
    t: Tensor
    context: Text
    ids: Tensor | None = None

    def call(self, net: Network) -> Tensor:
        """The prediction, the text encoded anew where that is being trained."""
        if self.ids is None or net.text is None or not any(p.requires_grad for p in net.text.parameters()):
            return net(self.x, self.t, self.context)
        return net(self.x, self.t, net.encode(self.ids))

    def tensors(self) -> list[Tensor]:
        told = [self.context]
        if isinstance(self.context, Context):
            told = [getattr(self.context, f.name) for f in fields(self.context)]
        return [x for x in (self.x, self.t, *told, self.ids) if isinstance(x, Tensor)]

    def to(self, device: torch.device | str) -> Example:
        """The same on another device."""
        ids = None if self.ids is None else self.ids.to(device)
        return Example(self.x.to(device), self.t.to(device), self.context.to(device), ids)

    @staticmethod
    def random(
        shape: tuple[int, ...], tokens: int, features: int, like: Tensor, text: torch.dtype | None = None
    ) -> Example:
        """Random inputs of `shape` (B, C, H, W) in the dtype and on the device of `like`: cost sees only shapes.

        `text` is the dtype of the text states where it is another.
        """
        stream = rng("cost")
        x = torch.randn(shape, generator=stream).to(like)
        context = torch.randn(shape[0], tokens, features, generator=stream).to(like)
        t = torch.full((shape[0],), 500, device=like.device)
        return Example(x, t, context.to(text or like.dtype))


Optimiser = Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]


class TrainingStep:
    """One whole training step of the attached `net`, called as a function, or in its two parts: `loss` and `update`.

    `fused` AdamW and clipping are what the trainer uses; without it AdamW as torch chooses it, which is what the
    bytes_peak of records were counted with. `optimiser` makes another of groups and learning rate. With `frozen` the
    loss compares with what that network says.
    """

    def __init__(
        self,
        method: Method,
        net: Network,
        example: Example,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        fused: bool | None = None,
        optimiser: Optimiser | None = None,
        frozen: Network | None = None,
    ):
        self.method, self.net, self.example, self.frozen = method, net, example, frozen
        self.autocast, self.fused = autocast, fused
        groups = method.groups(net, method.lr)
        self.optimiser = optimiser(groups, method.lr) if optimiser else torch.optim.AdamW(groups, fused=fused)
        self.trained = [p for p in net.parameters() if p.requires_grad]

    def __call__(self) -> None:
        self.loss().backward()
        self.penalise()
        self.update()

    def penalise(self) -> None:
        """Add the gradient of the method's penalty, if it has one."""
        penalise(self.method, self.net)

    def loss(self) -> Tensor:
        """A scalar with a graph."""
        with self.autocast():
            said = self.example.call(self.net).float()
            if self.frozen is not None:
                with torch.no_grad():
                    other = self.example.call(self.frozen).float()
                said = said - other
            return said.square().mean()

    def update(self) -> None:
        """Clip and change the weights by the gradients that are there."""
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0, foreach=self.fused)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def moments(self) -> list[Tensor]:
        """What AdamW remembers: nothing before the first update, two tensors for each trained one and a count after."""
        return [x for kept in self.optimiser.state.values() for x in kept.values() if isinstance(x, Tensor)]


def calls(
    method: Method,
    net: Network,
    attached_net: Network,
    example: Example,
    warmup: int = 3,
    n: int = 10,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, float | None]:
    """overhead_unmerged and overhead_merged: seconds of a denoiser call as a multiple of the base's, timed in turns."""
    nets = {"base": net, "unmerged": attached_net}
    if method.mergeable and not quantised(net.denoiser):
        nets["merged"] = copy.deepcopy(attached_net)
        method.merge(nets["merged"])

    def work(one: Network) -> Callable[[], object]:
        @torch.no_grad()
        def call() -> Tensor:
            with autocast():
                return one(example.x, example.t, example.context)

        return call

    speed = interleaved({name: work(one) for name, one in nets.items()}, warmup, n)
    return {
        f"overhead_{name}": speed[name].seconds / speed["base"].seconds if name in speed else None
        for name in ("unmerged", "merged")
    }


def measure(
    method: Method,
    net: Network,
    example: Example,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    timed_calls: int = 0,
    checkpointing: bool = False,
    optimiser: Optimiser | None = None,
    frozen: bool = False,
) -> dict[str, int | float | None]:
    """Costs of `method` on the untouched `net`, by the field names of bench.records.record.Cost; `net` is copied.

    Trained in float32 whatever the base's dtype, with the forward pass in `autocast`, as the trainer does.
    Everything but the seconds_* and overhead_* is the same on every run. `timed_calls` denoiser calls are timed per
    variant for the two overheads; 0 leaves them out. A method that trains nothing has a peak and FLOPs of None. With
    `checkpointing` these two are of a step that computes its activations again, with `frozen` of one whose loss asks
    the frozen base too, which lies in memory beside the other.
    """
    net = copy.deepcopy(net).requires_grad_(False)
    counts = widening(lambda wide: figures(method, copy.deepcopy(net).float() if wide else net))
    start = time.perf_counter()
    tuned = attached_copy(net, method, lambda: rng("cost", "attach"), checkpointing=checkpointing)
    out: dict[str, int | float | None] = {
        "seconds_attach": time.perf_counter() - start,  # with the copy that keeps the base whole
        "scalars_trainable": counts.trainable,
        "scalars_stored": counts.stored,
        "scalars_active": counts.active,
        "scalars_buffers": counts.buffers,
        "scalars_reserved": counts.reserved,
        "scalars_denoiser": sum(p.numel() for p in net.denoiser.parameters()),
        "bytes_disk": bytes_disk(tuned),
        "bytes_peak": None,
        "flops_step": None,
    }
    if timed_calls:
        out |= calls(method, net, tuned, example, n=timed_calls, autocast=autocast)
    saved = {key: p.clone() for key, p in state(tuned).items()}
    start = time.perf_counter()
    load_state(attached_copy(net, method, lambda: rng("cost", "load")), saved)
    out["seconds_load"] = time.perf_counter() - start
    if method.mergeable and not quantised(net.denoiser):
        flat = copy.deepcopy(tuned)
        start = time.perf_counter()
        method.merge(flat)
        out["seconds_merge"] = time.perf_counter() - start
    if method.trains:
        beside = net if frozen else None
        step = TrainingStep(method, tuned.train(), example, autocast, optimiser=optimiser, frozen=beside)
        resident = [*module_tensors(tuned), *example.tensors(), *(module_tensors(beside) if beside else ())]

        def two() -> None:  # the first step makes AdamW's moments, the second has them while it goes backward
            step()
            step()

        out["bytes_peak"] = peak(two, resident).bytes
        out["flops_step"] = flops(step)
    return out
