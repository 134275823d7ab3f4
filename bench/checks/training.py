"""The checks of what happens in training: it learns, its penalty is in the open, what it prunes stays pruned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.checks.arena import STEPS, Arena, fresh, start, train
from bench.checks.result import Skipped
from bench.checks.running import some
from bench.method import Method, Network, state

LEAST = 0.03  # of the fall that gradients promise: a sane rate gets nearly all of it, a wild one next to nothing
PARTS = 4  # batches of a step
LONG = 20  # steps in which a method that prunes has pruned


def judge_training(method: Method, arena: Arena, net: Network, how: str = "") -> None:
    """Train `net` for STEPS steps on one batch: AssertionError where its loss does not fall as a sane rate makes it.

    A step that is small enough lowers the loss by what its gradient promises, -g dw. Where next to nothing of that
    comes true, the loss is where it is by chance: a network with norms saturates, and may well end lower at any rate.
    The step that promises most is left out, since a start can lie at a point without a slope.
    """

    @torch.no_grad()
    def loss() -> float:
        return arena.loss(net).item()

    falls: list[tuple[float, float]] = []
    first = loss()
    train(method, arena, net, STEPS, lambda promised, came: falls.append((promised, came)))
    last = loss()
    assert math.isfinite(last), f"{how}the loss is {last} after {STEPS} steps at lr {method.lr:g}"
    told = f"{how}{STEPS} steps at lr {method.lr:g} take the loss from {first:.5g} to {last:.5g}"
    assert last < first, told
    promised, came = (sum(column) for column in zip(*sorted(falls)[:-1], strict=True))
    assert came >= LEAST * promised, (
        f"{told}, yet its steps lower it by {came / promised:.2g} of what their gradients promise, not by {LEAST:g} "
        "or more: they are so long that they land by chance, lower lr"
    )


def learns(method: Method, arena: Arena) -> None:
    """A few steps at its own learning rate lower the loss, by about as much as their gradients promise."""
    if not method.trains:
        assert not state(start(method, arena)), "trains = False, yet something requires grad"
        return
    judge_training(method, arena, fresh(method, arena))


def penalises_in_the_open(method: Method, arena: Arena) -> None:
    """What `penalty` gives is a finite scalar over trained tensors; nothing is added on the way back instead."""
    if not method.trains:
        raise Skipped("it trains nothing")
    net = fresh(method, arena)
    own = set(state(net))
    _sound(method.penalty(net))
    train(method, arena, net, steps=2)
    extra = method.penalty(net)
    _sound(extra)
    if extra is not None:
        net.zero_grad(set_to_none=True)
        extra.backward()
        reached = {key: p.grad for key, p in net.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
        assert reached, "the penalty pulls at nothing: leave it out"
        assert not reached.keys() - own, f"the penalty pulls at what is frozen: {some(reached.keys() - own)}"
        odd = {key for key, grad in reached.items() if not grad.isfinite().all()}
        assert not odd, f"the penalty's gradient is not finite: {some(odd)}"
    grads = []
    for parts in (1, PARTS):
        net.train().zero_grad(set_to_none=True)
        for _ in range(parts):
            with torch.random.fork_rng(devices=[]):  # dropout draws the same each time
                torch.manual_seed(0)
                (arena.loss(net) / parts).backward()
        grads.append({key: torch.zeros_like(p) if p.grad is None else p.grad.clone() for key, p in _trained(net)})
    most = max(g.abs().max().item() for g in grads[0].values())
    odd = {key for key, g in grads[0].items() if (g - grads[1][key]).abs().max().item() > 1e-3 * most}
    assert not odd, (
        f"one batch in {PARTS} parts of a {PARTS}th of its loss gives another gradient than the whole: {some(odd)}; "
        "what is added to a gradient on its way back belongs into penalty(net), which is added once for each step"
    )


def _sound(extra: object) -> None:
    scalar = extra is None or (isinstance(extra, Tensor) and extra.ndim == 0)
    assert scalar, "penalty gives a scalar tensor, or None for nothing"
    if isinstance(extra, Tensor):
        assert extra.isfinite(), f"the penalty is {extra.item()}"
        assert extra.requires_grad, "no gradient passes through the penalty: leave it out, or compute it with a graph"


def _trained(net: Network) -> list[tuple[str, torch.nn.Parameter]]:
    return [(key, p) for key, p in net.named_parameters() if p.requires_grad]


@torch.no_grad()
def survives_averaging(method: Method, arena: Arena) -> None:
    """What `step` holds at 0 is 0 again after the mean of all steps (EMA) and `project`, which moves nothing else."""
    if type(method).step is Method.step:
        raise Skipped("it does nothing between steps")
    net = fresh(method, arena)
    sums = {key: torch.zeros_like(p) for key, p in state(net).items()}
    n = 0

    def look(promised: float, came: float) -> None:
        nonlocal n
        n += 1
        for key, p in state(net).items():
            sums[key] += p

    train(method, arena, net, LONG, look)
    last = {key: p.clone() for key, p in state(net).items()}
    method.project(net)
    moved = {key for key, p in state(net).items() if not p.equal(last[key])}
    assert not moved, f"project moves what the last step left in order: {some(moved)}"
    for key, p in state(net).items():
        p.copy_(sums[key] / n)
    method.project(net)
    back = {key for key, p in state(net).items() if bool(((last[key] == 0) & (p != 0)).any())}
    assert not back, (
        f"step holds entries at 0 that the mean of EMA brings back: {some(back)}; write project(net), which puts back "
        "what is pruned or masked"
    )
