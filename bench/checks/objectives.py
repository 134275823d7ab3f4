"""The examination of objectives: what every one must do, said so that an outside author can run it on their own file.

Each check takes an objective and a Trial, and fails with an AssertionError in plain words. `examine` runs them all and
reports, `check_objective` raises, `check_file` serves `litmus check-objective FILE`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.bases.toy import toy_network
from bench.checks.contract import streams
from bench.checks.result import Result, attempt, demand, of_file
from bench.checks.running import some
from bench.core.rng import rng
from bench.method import Network
from bench.network.calls import shapes
from bench.network.schedule import KINDS, Schedule
from bench.objectives import Batch, LitmusError, Needs, Objective
from bench.objectives.plain import plain

TIMES = 1000  # of the schedules that an objective is tried on


@dataclass(frozen=True)
class Trial:
    """Where an objective is tried: a frozen toy network, one that training has moved, and a batch of everything.

    Each is made anew for each check, so that what one breaks is whole again for the next.
    """

    frozen: Network
    net: Network  # everything of its denoiser is trained
    schedule: Schedule

    @staticmethod
    def make(kind: str = "v") -> Trial:
        frozen = toy_network(middle=False).requires_grad_(False)
        net, stream = copy.deepcopy(frozen), rng("checks", "objective")
        with torch.no_grad():
            for p in net.denoiser.parameters():
                p += 0.02 * torch.randn(p.shape, generator=stream)
        net.denoiser.requires_grad_(True)
        return Trial(frozen, net, Schedule(kind, torch.linspace(0.999, 0.005, TIMES)))

    def batch(self, needs: Needs, size: int = 2, draw: int = 0) -> Batch:
        """A batch of `size` pictures with all that `needs` asks for; another one for another `draw`."""
        stream = rng("checks", "objective", draw)
        whole = self._pictures(size, stream)
        classes = self._pictures(size * needs.classes, stream) if needs.classes else None
        memory = self._pictures(size * needs.memory, stream) if needs.memory else None
        if not needs.frozen:
            return replace(whole, classes=classes, memory=memory)
        beside = [one and replace(one, frozen_context=one.context) for one in (classes, memory)]
        return replace(whole, frozen_context=whole.context, classes=beside[0], memory=beside[1])

    def _pictures(self, n: int, stream: torch.Generator) -> Batch:
        channels, side, wide = shapes(self.net.denoiser)
        x0, eps = (torch.randn(n, channels, side, side, generator=stream) for _ in range(2))
        t = torch.randint(TIMES // 10, TIMES, (n,), generator=stream)
        return Batch(x0, eps, t, torch.randn(n, 3, wide, generator=stream))

    def loss(self, objective: Objective, batch: Batch | None = None, net: Network | None = None) -> Tensor:
        """The loss with exactly what the objective declares."""
        frozen = self.frozen if objective.needs.frozen else None
        return objective(net or self.net, batch or self.batch(objective.needs), self.schedule, frozen)


def declares_itself(objective: Objective) -> None:
    """Its facts are in order: name, paper, hyperparameters that a protocol can write, needs that fit together."""
    assert all((objective.name, objective.paper)), "name and paper must not be empty"
    for key, value in objective.hyper().items():
        assert value is None or isinstance(value, int | float | str), (
            f"{key} = {value!r} cannot be written in a protocol: use a number, true, false, none or text"
        )
    try:
        type(objective)()
    except TypeError as error:
        raise AssertionError(f"every hyperparameter needs a default: {error}") from None
    needs = objective.needs
    assert isinstance(needs, Needs), f"needs is {needs!r}: write needs = Needs(...)"
    for name in ("classes", "memory", "drawn"):
        value, least = getattr(needs, name), int(name == "drawn")
        fine = type(value) is int and value >= least
        assert fine, f"needs.{name} is a whole number from {least} up, not {value!r}"
    texts = needs.prompts
    fine = isinstance(texts, tuple) and all(isinstance(x, str) and x.strip() for x in texts)
    assert fine, f"needs.prompts is a tuple of texts, not {texts!r}"
    assert bool(needs.memory) == bool(texts), "memory pictures and prompts go together: say what the pictures show"


def gives_a_loss_per_sample(objective: Objective) -> None:
    """(B,) float32, finite and with a graph, for every kind of prediction and every size of batch."""
    for kind in KINDS:
        trial = Trial.make(kind)
        for size in (1, 3):
            loss = trial.loss(objective, trial.batch(objective.needs, size))
            shape = tuple(loss.shape)
            assert shape == (size,), f"for {size} pictures the loss has the shape {shape}: give one per sample, (B,)"
            assert loss.dtype == torch.float32, f"the loss is {loss.dtype}: convert the prediction with .float()"
            assert loss.isfinite().all(), f"on a base that predicts {kind} the loss is {loss.tolist()}"
            assert loss.requires_grad, "the loss has no graph to what is trained"


def trains_the_network(objective: Objective) -> None:
    """A gradient reaches everything that the plain loss reaches, text states included."""
    reached = []
    for loss_of in (lambda trial, batch: plain(trial.net, batch, trial.schedule), lambda t, b: t.loss(objective, b)):
        trial = Trial.make()
        batch = trial.batch(objective.needs)
        assert isinstance(batch.context, Tensor)
        batch.context.requires_grad_(True)
        loss_of(trial, batch).mean().backward()
        found = {key for key, p in trial.net.named_parameters() if p.grad is not None and p.grad.any()}
        bad = {key for key, p in trial.net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()}
        assert not bad, f"the gradient is not finite: {some(bad)}"
        if batch.context.grad is not None and batch.context.grad.any():
            found.add("the text states")
        reached.append(found)
    lost = reached[0] - reached[1]
    assert not lost, f"no gradient reaches {some(lost)}"


def tells_its_needs(objective: Objective) -> None:
    """It looks at all that `needs` declares and at nothing else, and fails in plain words where something lacks."""
    trial, needs = Trial.make(), objective.needs
    full = Needs(max(needs.classes, 1), max(needs.memory, 1), needs.prompts or ("a photo",), frozen=True)
    all_, other = trial.batch(full), trial.batch(full, draw=1)
    own = {"classes": needs.classes, "memory": needs.memory, "the frozen base": needs.frozen}
    given: dict[str, Any] = {"classes": all_.classes, "memory": all_.memory, "the frozen base": trial.frozen}
    moved = copy.deepcopy(trial.net).requires_grad_(False)
    changed: dict[str, Any] = {"classes": other.classes, "memory": other.memory, "the frozen base": moved}

    @torch.no_grad()
    def loss(parts: dict[str, Any]) -> Tensor:
        beside = {name: parts.get(name) for name in ("classes", "memory")}
        frozen = parts.get("the frozen base")
        whole = replace(all_, **beside, frozen_context=None if frozen is None else all_.context)
        return objective(trial.net, whole, trial.schedule, frozen)

    declared = {name: x for name, x in given.items() if own[name]}
    try:
        before = loss(declared)
    except Exception as error:
        raise AssertionError(
            f"given what needs declares ({needs.said()}) it fails, {type(error).__name__}: {error}; declare all it uses"
        ) from None
    for name, said in (("classes", "class pictures"), ("memory", "memory pictures"), *[("the frozen base",) * 2]):
        if own[name]:
            same = loss({**declared, name: changed[name]}).equal(before)
            assert not same, f"needs declares {said}, yet the loss never looks at them: leave it out"
            try:
                loss({key: x for key, x in declared.items() if key != name})
            except LitmusError:
                continue
            except Exception as error:
                raise AssertionError(f"without {said} it fails in no plain words: {type(error).__name__}") from None
            raise AssertionError(f"without {said}, which needs declares, it gives a loss all the same")
        assert loss({**declared, name: given[name]}).equal(before), f"it uses {said}, which needs does not declare"


def repeats(objective: Objective) -> None:
    """The same batch twice is the same loss, whatever the global streams have been through."""
    trial = Trial.make()
    batch = trial.batch(objective.needs)
    with torch.random.fork_rng(devices=[]):
        one = trial.loss(objective, batch)
        torch.manual_seed(torch.initial_seed() + 1)
        two = trial.loss(objective, batch)
    assert one.equal(two), f"the same batch gives {one.tolist()}, then {two.tolist()}: draw nothing, keep nothing"


def leaves_global_streams_alone(objective: Objective) -> None:
    """The loss draws nothing from the streams of torch, numpy and random: times and noise are in the batch."""
    trial = Trial.make()
    batch = trial.batch(objective.needs)
    before = streams()
    trial.loss(objective, batch).sum().backward()
    odd = [name for (name, a), (_, b) in zip(before, streams(), strict=True) if a != b]
    assert not odd, f"the loss moves the global stream of {' and '.join(odd)}: times and noise are in the batch"


def changes_nothing(objective: Objective) -> None:
    """Networks and batch are as they were after the loss, and the frozen base gets no gradient."""
    trial = Trial.make()
    batch, nets = trial.batch(objective.needs), {"the network": trial.net, "the frozen base": trial.frozen}
    before = {name: {key: x.clone() for key, x in net.state_dict().items()} for name, net in nets.items()}
    pictures = copy.deepcopy(batch)
    modes = {name: net.training for name, net in nets.items()}
    trial.frozen.requires_grad_(True)  # so that a graph through it shows
    trial.loss(objective, batch).mean().backward()
    for name, net in nets.items():
        odd = {key for key, x in net.state_dict().items() if not x.equal(before[name][key])}
        assert not odd, f"the loss changes {name}: {some(odd)}"
        assert net.training == modes[name], f"the loss switches {name} between train() and eval()"
    touched = {key for key, p in trial.frozen.named_parameters() if p.grad is not None}
    assert not touched, f"a gradient flows into the frozen base ({some(touched)}): call it under torch.no_grad()"
    for mine, old in zip(_tensors(batch), _tensors(pictures), strict=True):
        assert mine.equal(old), "the loss changes its batch in place"


def _tensors(batch: Batch) -> list[Tensor]:
    out: list[Tensor] = []
    for f in fields(batch):
        value = getattr(batch, f.name)
        out += [value] if isinstance(value, Tensor) else _tensors(value) if isinstance(value, Batch) else []
    return out


def heeds_weights(objective: Objective) -> None:
    """The weights of min-SNR, where a batch has them, multiply what is learned from its pictures."""
    trial = Trial.make()
    batch = trial.batch(objective.needs)

    def weighed(factor: float) -> Tensor:
        parts = {name: getattr(batch, name) for name in ("classes", "memory")}
        own: dict[str, Any] = {
            name: replace(x, weight=torch.full((len(x.x0),), factor)) for name, x in parts.items() if x is not None
        }
        whole = replace(batch, weight=torch.full((len(batch.x0),), factor), **own)
        return trial.loss(objective, whole).detach()

    one, two, none = weighed(1.0), weighed(2.0), trial.loss(objective, batch).detach()
    assert torch.allclose(one, none), "weights of 1 give another loss than none: multiply by batch.weight, no more"
    assert (two > one).all(), "twice the weights leave the loss as it is: multiply by batch.weight where there is one"


def works_in_bf16(objective: Objective) -> None:
    """Under autocast, as on a base in bfloat16, the loss is float32 and finite, and so are its gradients."""
    trial = Trial.make()
    with torch.autocast("cpu", torch.bfloat16):
        loss = trial.loss(objective)
    assert loss.dtype == torch.float32, f"under autocast the loss is {loss.dtype}: convert the prediction with .float()"
    loss.mean().backward()
    assert loss.isfinite().all(), f"under autocast the loss is {loss.tolist()}"
    bad = {key for key, p in trial.net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()}
    assert not bad, f"no finite gradient under autocast: {some(bad)}"


Check = Callable[[Objective], None]

ALL: tuple[Check, ...] = (
    declares_itself,
    gives_a_loss_per_sample,
    trains_the_network,
    tells_its_needs,
    repeats,
    leaves_global_streams_alone,
    changes_nothing,
    heeds_weights,
    works_in_bf16,
)


def examine(objective: Objective, checks: Sequence[Check] | None = None) -> list[Result]:
    """Every check on `objective`, none skipped because another failed."""
    return [attempt(check, objective) for check in (ALL if checks is None else checks)]


def check_objective(objective: Objective) -> None:
    """For an author's own test suite: AssertionError with a line for each check that `objective` fails."""
    demand(examine(objective), f"{objective.name} fails the examination")


def check_file(path: str | Path) -> list[Result]:
    """Every check on every objective that the file registers (bench.checks.result.of_file)."""
    return of_file(path, Objective, "bench.objectives", examine)
