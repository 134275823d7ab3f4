"""Batches for starts from data, and the way of a run that hands them over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from bench.method import METHODS, Method
from bench.objectives.plain import plain
from bench.runner import run as running
from bench.training import calibration as batches
from bench.training.calibration import calibration


def values(losses, net):
    with torch.no_grad():
        return [loss(net).item() for loss in losses]


def test_losses_are_fixed_and_named_by_task_and_seed(toy_base, toy_task):
    one = calibration(toy_base, toy_task, 0, 2)
    assert len(one) == batches.BATCHES
    first = values(one, toy_base.net)
    assert first == values(one, toy_base.net) == values(calibration(toy_base, toy_task, 0, 2), toy_base.net)
    assert len(set(first)) == 4
    assert set(first).isdisjoint(values(calibration(toy_base, toy_task, 1, 2), toy_base.net))
    assert set(first).isdisjoint(values(calibration(toy_base, replace(toy_task, name="other"), 0, 2), toy_base.net))


def test_they_have_a_graph_and_ask_the_network_given(toy_base, toy_task):
    tuned = toy_base.fork()
    tuned.net.requires_grad_(True)
    (loss,) = calibration(toy_base, toy_task, 0, 2, n=1)
    before = loss(toy_base.net)
    loss(tuned.net).backward()
    assert tuned.net.denoiser.conv_in.weight.grad.any()
    text: Any = tuned.net.text
    assert any(p.grad is not None and p.grad.any() for p in text.parameters()), "its own text side encodes"
    assert not before.requires_grad
    assert not any(p.grad is not None for p in toy_base.net.parameters())
    with torch.no_grad():
        tuned.net.denoiser.conv_in.weight += 1
    assert loss(tuned.net).item() != before.item()


def test_only_training_pictures_are_seen(toy_base, toy_task, monkeypatch):
    seen = []
    monkeypatch.setattr(
        batches, "plain", lambda net, batch, schedule: seen.append(batch.x0) or plain(net, batch, schedule)
    )
    values(calibration(toy_base, toy_task, 0, 3), toy_base.net)
    pool = toy_base.encode(toy_task.train_images)
    assert len(seen) == 4
    for x in torch.cat(seen):
        assert any(x.equal(one) for one in pool)


@dataclass(frozen=True)
class Watcher(Method):
    """Notes what the harness gives it."""

    name, paper, needs_data = "watcher", "none", True

    def attach(self, net, rng):
        net.denoiser.get_parameter("conv_out.bias").requires_grad_(True)

    def attach_data(self, net, rng, losses):
        note(trigger=net.trigger, losses=len(losses), draw=torch.rand(1, generator=rng).item())
        self.attach(net, rng)

    def count(self, net: Any):
        return net.denoiser.conv_out.bias.numel()


class Plain(Watcher):
    name, needs_data = "plain", False

    def attach(self, net, rng):
        note(plain_trigger=net.trigger, plain_draw=torch.rand(1, generator=rng).item())
        super().attach(net, rng)


GIVEN: dict[str, Any] = {}


def note(**facts):
    """The first time counts: later, costs are measured apart from any task."""
    for key, value in facts.items():
        GIVEN.setdefault(key, value)


@pytest.mark.slow
def test_a_run_hands_over_trigger_and_losses(toy_base, toy_protocol, tmp_path, monkeypatch):
    from bench.protocol.models import load_protocol
    from bench.runner.plan import expand, key
    from bench.runner.resolve import look_up

    for cls in (Watcher, Plain):
        monkeypatch.setitem(METHODS, cls.name, cls)
    running._task.cache_clear()
    protocol = load_protocol(toy_protocol(('spec = "lora"', 'spec = "watcher"'), ('spec = "bias"', 'spec = "plain"')))
    plan = expand(protocol, look_up(protocol))
    for spec in ("watcher", "plain"):
        run = next(r for r in plan.values() if r.spec == spec)
        record = running.execute(key(run), run, tmp_path, lambda *_: None)
        assert (record.status, record.error) == ("ok", "")
    sks = toy_base.trigger("sks")
    assert GIVEN["trigger"] == GIVEN["plain_trigger"] == sks
    assert len(sks) == 1
    assert sks[0] in toy_base.tokens(["a sks robot"])[0]
    assert GIVEN["losses"] == 4
    assert GIVEN["draw"] == GIVEN["plain_draw"], "the stream of the start is the same with data and without"
