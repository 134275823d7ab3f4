"""The contract: what a fine-tuning method is, and the registry of methods.

A method is a frozen dataclass of hyperparameters. Only `attach` and `count` must be written; freezing, training,
saving, loading, counting and timing belong to the harness.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.errors import LitmusError
from bench.core.rng import rng as stream
from bench.method.size import nearest_size
from bench.network.calls import Text, predict
from bench.plugin.registry import Part, Registry, source_digest
from bench.plugin.registry import load_file as load_any
from bench.plugin.spec import Value, label, parse_spec

__all__ = [
    "METHODS", "Figures", "LitmusError", "Loss", "Method", "Network", "Value", "attached", "figures", "fit_budget",
    "floating", "label", "load_file", "load_plugins", "load_state", "make", "parse_spec", "quantised", "reach",
    "refuse_quantised", "register", "source_digest", "state", "used",
]  # fmt: skip


class Network(nn.Module):
    """What a method is attached to: a denoiser and, where there is one, the text side."""

    denoiser: nn.Module
    text: nn.Module | None
    trigger: tuple[int, ...]  # token ids of the task's identifier, for methods of the text side; () where no task is

    def __init__(self, denoiser: nn.Module, text: nn.Module | None = None, trigger: tuple[int, ...] = ()):
        super().__init__()
        self.denoiser = denoiser
        self.text = text
        self.trigger = trigger

    def forward(self, x: Tensor, t: Tensor, context: Text) -> Tensor:
        """The prediction (B, C, H, W) from `x` (B, C, H, W), `t` (B,) and what is told of the prompts.

        `context` is a Context (bench.network.calls), or the text states (B, L, D) alone.
        """
        return predict(self.denoiser, x, t, context)

    def encode(self, ids: Tensor) -> Tensor:
        """Text states (B, L, D) of token ids (B, L), by the text side as it is now."""
        if self.text is None:
            raise LitmusError("this network has no text side: choose a base that has one")
        return self.text(ids)[0]


Loss = Callable[[Network], Tensor]  # the training loss of one batch, a scalar with a graph, for the network given


@dataclass(frozen=True)
class Method(Part):
    """A way to train a small part of a frozen network.

    An instance holds hyperparameters and nothing else; all state lives in the network. The harness freezes `net`
    before `attach`, and reads `requires_grad` after it. The network is the harness's own copy, so nothing has to be
    undone.
    """

    paper: ClassVar[str]  # "arXiv:2106.10199, section 3"
    lr: ClassVar[float] = 1e-3  # the learning rate where nobody gives one
    space: ClassVar[dict[str, tuple]] = {}  # what may be searched under the budget: (low, high, "log" | "linear")
    size_field: ClassVar[str | None] = None  # the hyperparameter that sets the number of trained scalars
    # Declarations that bench.checks tests in both directions. Where one hangs on a hyperparameter, write a property.
    exact_start: ClassVar[bool] = True  # attached and untrained, the network still computes what the base computes
    mergeable: ClassVar[bool] = True  # `merge` leaves the base's own names and shapes
    packable: ClassVar[bool] = True  # vmap(grad) over the stacked tensors of two seeds gives each seed's own gradient
    quantised: ClassVar[bool] = False  # works where frozen weights are in 4 or 8 bits: it calls layers, reads no weight
    trains: ClassVar[bool] = True  # False only for the frozen base as a row
    # Facts for the tables, and for how the harness calls the method.
    needs_data: ClassVar[bool] = False  # its start is computed from batches of the task: see attach_data
    data_bound: ClassVar[bool] = False  # and its saved state fits only a network that got the same start again
    side: ClassVar[str] = "denoiser"  # what it trains: "denoiser", "text" or "both"
    formula: ClassVar[str] = ""  # one line of plain text: "W' = W + (alpha / rank) B A"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        """Make `net` trainable in this method's parameters only, in place. All chance comes from `rng` (on the CPU)."""
        raise NotImplementedError(f"{type(self).__name__} must say what it trains: write attach(self, net, rng)")

    def attach_data(self, net: Network, rng: torch.Generator, losses: Sequence[Loss]) -> None:
        """`attach` for a method with needs_data: each of `losses` is one batch of the task's training pictures.

        `attach` itself then gives a start that needs no data, so that costs can be known without a task.
        """
        self.attach(net, rng)

    def count(self, net: Network) -> int:
        """Trainable scalars by the paper's formula, from the shapes of an untouched `net` (meta device allowed)."""
        raise NotImplementedError(f"{type(self).__name__} must say how much it trains: write count(self, net)")

    def reserved(self, net: Network) -> int:
        """How many of `count`'s scalars the method holds at 0 in the end: room to grow into, or what it prunes.

        They are trained and stored, but no part of what inference uses; budgets count `used`. From shapes, as `count`:
        the default is 0.
        """
        return 0

    def merge(self, net: Network) -> None:
        """Fold the trained part into the base's own tensors, in place, leaving the base's names and shapes.

        The default does nothing, which is right where the base's own tensors are trained.
        """

    def groups(self, net: Network, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups over what is trainable; one group at `lr` unless the paper says otherwise (LoRA+: two)."""
        return [{"params": [p for p in net.parameters() if p.requires_grad], "lr": lr}]

    def penalty(self, net: Network) -> Tensor | None:
        """What is added to the loss of each optimiser step, once however many batches make the step; None for nothing.

        A scalar with a graph over trained tensors only, in float32, computed outside autocast. The loss that is
        reported and compared is the data's alone.
        """
        return None

    def step(self, net: Network, i: int, n: int) -> None:
        """Called after optimiser step `i` of `n` (0 <= i < n); for methods that move their budget while training."""

    def project(self, net: Network) -> None:
        """Put back what the method holds fast in trained tensors (pruned or empty ranks at 0), in place.

        Called when other than an optimiser step has written them, as when the running mean of EMA is taken. A method
        whose `step` prunes or masks must say here what is pruned by then.
        """


METHODS: Registry[Method] = Registry("method", "methods", ("name", "paper"), "litmus methods")
register = METHODS.register  # the class decorator
make = METHODS.make
load_plugins = METHODS.load


def load_file(path: str | Path) -> list[type[Method]]:
    """Import a plug-in file and return the methods that it registers (see bench.plugin.registry.load_file)."""
    return [cls for cls in load_any(path) if issubclass(cls, Method)]


def attached(method: Method, net: Network, rng: torch.Generator, losses: Sequence[Loss] = ()) -> Network:
    """`net` itself, frozen and with `method` attached: how the harness calls `attach`, or `attach_data`."""
    if not method.quantised and method.side != "text" and quantised(net.denoiser):
        fit = ", ".join(name for name, cls in sorted(METHODS.items()) if cls.quantised and cls.trains)
        raise LitmusError(
            f"{method.name} reads or writes weights that this base holds in 4 or 8 bits: leave out --quantise, or take "
            f"one that does not ({fit})"
        )
    net.requires_grad_(False)
    if method.needs_data and losses:
        method.attach_data(net, rng, losses)
    else:
        method.attach(net, rng)
    return net


def floating(module: nn.Module) -> Tensor:
    """The first parameter of `module` that holds numbers: its dtype is that of the base's arithmetic.

    Weights in 4 bits are bytes (uint8) in an odd shape.
    """
    return next(p for p in module.parameters() if p.is_floating_point())


def quantised(module: nn.Module) -> bool:
    """Whether `module` holds weights in 4 or 8 bits, which cannot be read or written as numbers."""
    return any(not p.is_floating_point() for p in module.parameters())


def refuse_quantised(method: Method, net: Network) -> None:
    """LitmusError for merging into weights in 4 or 8 bits, which would round what was learned away."""
    if quantised(net.denoiser):
        raise LitmusError(
            f"{method.name} cannot be merged into weights of 4 or 8 bits: load the base without --quantise"
        )


def state(net: nn.Module) -> dict[str, Tensor]:
    """The trainable tensors by name, detached and sharing memory: exactly what is written to disk."""
    return {key: p.detach() for key, p in net.named_parameters() if p.requires_grad}


def load_state(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` into the trainable tensors of a `net` that has the same method attached.

    Raises LitmusError when the names or shapes are not exactly those of `state(net)`.
    """
    mine = state(net)
    if odd := sorted(mine.keys() ^ tensors.keys()):
        side = "lack" if odd[0] in mine else "have, which the network does not train,"
        raise LitmusError(f"the tensors {side} {odd[0]} ({len(odd)} differ): attach the method with the same settings")
    for key, value in tensors.items():
        if mine[key].shape != value.shape:
            shapes = f"{tuple(value.shape)}, the network {tuple(mine[key].shape)}"
            raise LitmusError(f"{key} has the shape {shapes}: attach the method with the same settings")
        mine[key].copy_(value)


@dataclass(frozen=True)
class Figures:
    """The numbers that papers mix up, all in scalars.

    trainable  scalars with requires_grad
    stored     scalars written to disk
    active     scalars that inference needs on top of the base's while the method is not merged; 0 when it trains the
               base's own tensors
    buffers    frozen scalars that the method adds and can make again from its hyperparameters; part of active
    reserved   trainable scalars that are 0 in the end: room that is not grown into, or what is pruned
    """

    trainable: int
    stored: int
    active: int
    buffers: int
    reserved: int = 0

    @property
    def used(self) -> int:
        """Trainable scalars that are in use in the end: what a budget is compared with."""
        return self.trainable - self.reserved


def figures(method: Method, net: Network) -> Figures:
    """The counts of `method` on an untouched `net`, which is copied and may be on the meta device."""
    net = copy.deepcopy(net)
    reserved = method.reserved(net)
    base = {id(p) for p in (*net.parameters(), *net.buffers())}
    before = _scalars(net)
    attached(method, net, stream("figures"))
    after = _scalars(net)
    trained = [p for p in net.parameters() if p.requires_grad]
    added = sum(p.numel() for p in trained if id(p) not in base)
    trainable = sum(p.numel() for p in trained)
    stored = sum(p.numel() for p in state(net).values())
    return Figures(trainable, stored, after - before, after - before - added, reserved)


def _scalars(net: nn.Module) -> int:
    return sum(p.numel() for p in (*net.parameters(), *net.buffers()))


def used(method: Method, net: Network) -> int:
    """Trainable scalars of `method` on an untouched `net` that are in use in the end: `count` less `reserved`."""
    return method.count(net) - method.reserved(net)


def fit_budget(method: Method, net: Network, scalars: int) -> Method:
    """`method` with its size field set so that what it uses (`used`) comes nearest to `scalars`.

    The field holds a whole number from 1, or a fraction up to 1; its count may rise, fall or jump with it. The caller
    compares `used` with `scalars`: the nearest may be far off where one unit costs much (see `reach`). Raises
    LitmusError for a method without a size.
    """
    field = method.size_field
    if field is None:
        raise LitmusError(f"{method.name} has no size to set: leave it out of a parameter-matched track")

    def count(size: float) -> int:
        return used(replace(method, **{field: size}), net)

    whole = not isinstance(getattr(method, field), float)
    return replace(method, **{field: nearest_size(count, scalars, whole)})


def reach(method: Method, net: Network, share: float) -> tuple[Method, int, float]:
    """(method, used, off_by): the setting nearest to `share` of the denoiser's scalars, and how far off it is.

    off_by is (used - wanted) / wanted: 0.02 is two percent too many. A method without a size comes back as it is.
    """
    wanted = round(share * sum(p.numel() for p in net.denoiser.parameters()))
    fitted = method if method.size_field is None else fit_budget(method, net, wanted)
    count = used(fitted, net)
    return fitted, count, (count - wanted) / wanted
