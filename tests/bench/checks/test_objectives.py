"""The examination of objectives finds each planted fault, and only that."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

from bench.checks import objectives as checks
from bench.objectives import OBJECTIVES, Needs, Objective
from bench.objectives.plain import plain
from bench.objectives.prior import Prior


@dataclass(frozen=True)
class Sound(Objective):
    """Everything that may be asked for, asked for and used."""

    name = "sound"
    paper = "none"
    needs = Needs(classes=2, memory=1, prompts=("a {}",), frozen=True)

    weight: float = 0.5

    def loss(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
        own = plain(net, batch, schedule)
        with torch.no_grad():
            kept = frozen(batch.x0, batch.t, batch.frozen_context).float()
        far = (net(batch.x0, batch.t, batch.context).float() - kept).square().mean(dim=(1, 2, 3))
        far = far if batch.weight is None else far * batch.weight
        classes = plain(net, batch.classes, schedule).view(len(own), 2).mean(1)
        return own + self.weight * (far + classes + plain(net, batch.memory, schedule))


@pytest.mark.parametrize("objective", [*(cls() for cls in OBJECTIVES.own().values()), Prior(0.5), Sound()], ids=str)
def test_a_sound_objective_passes_everything(objective):
    results = checks.examine(objective)
    assert [(r.name, r.message) for r in results if not r.ok] == []
    assert [r.name for r in results] == [check.__name__ for check in checks.ALL]


class Faulty(Objective):
    name, paper = "faulty", "none"
    calls: ClassVar[int] = 0

    def loss(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
        return plain(net, batch, schedule)


def scalar(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, batch, schedule).mean()


def entries(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return (net(batch.x0, batch.t, batch.context).float() - batch.eps).square().mean(dim=(1, 2))


def half(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, batch, schedule).bfloat16()


def at_noise_zero(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    with torch.no_grad():
        a, _ = schedule.scales(batch.t)
    return plain(net, batch, schedule) / (a.flatten() > 2)


def detached(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, batch, schedule).detach()


def deaf(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, replace(batch, context=batch.context.detach()), schedule)


def bias_only(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, batch, schedule).detach() + net.denoiser.conv_out.bias.square().mean()


def undeclared(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, batch, schedule) + plain(net, batch.classes, schedule)


def in_secret(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    extra = 0 if batch.memory is None else plain(net, batch.memory, schedule)
    return plain(net, batch, schedule) + extra


def draws(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, replace(batch, eps=torch.randn_like(batch.eps)), schedule)


def rolls(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    random.random()
    return plain(net, batch, schedule)


def counts(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    Faulty.calls += 1
    return plain(net, batch, schedule) * (1 + Faulty.calls)


def scales_input(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    loss = plain(net, batch, schedule)
    batch.x0.mul_(0.5)
    return loss


def decays(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    loss = plain(net, batch, schedule)
    with torch.no_grad():
        net.denoiser.conv_in.weight.data = net.denoiser.conv_in.weight.data * 0.9
    return loss


def evals(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    net.train(not net.training)
    return plain(net, batch, schedule)


def through_frozen(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    kept = frozen(batch.x0, batch.t, batch.frozen_context).float()
    far = (net(batch.x0, batch.t, batch.context).float() - kept).square().mean(dim=(1, 2, 3))
    return plain(net, batch, schedule) + (far if batch.weight is None else far * batch.weight)


def weightless(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
    return plain(net, replace(batch, weight=None), schedule)


FAULTS = {
    scalar: ("gives_a_loss_per_sample", r"the loss has the shape \(\)"),
    entries: ("gives_a_loss_per_sample", r"give one per sample"),
    half: ("gives_a_loss_per_sample", "the loss is torch.bfloat16"),
    at_noise_zero: ("gives_a_loss_per_sample", "the loss is .inf"),
    detached: ("gives_a_loss_per_sample", "no graph"),
    deaf: ("trains_the_network", "no gradient reaches the text states"),
    bias_only: ("trains_the_network", "no gradient reaches "),
    undeclared: ("tells_its_needs", r"given what needs declares \(nothing\) it fails, AttributeError"),
    in_secret: ("tells_its_needs", "it uses memory pictures, which needs does not declare"),
    draws: ("repeats", "the same batch gives .*, then "),
    rolls: ("leaves_global_streams_alone", "the global stream of random"),
    counts: ("repeats", "keep nothing"),
    scales_input: ("changes_nothing", "changes its batch in place"),
    decays: ("changes_nothing", "changes the network: denoiser.conv_in.weight"),
    evals: ("changes_nothing", "switches the network"),
    through_frozen: ("changes_nothing", "a gradient flows into the frozen base"),
    weightless: ("heeds_weights", "twice the weights leave the loss as it is"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(fault):
    name, words = FAULTS[fault]
    needs = Needs(frozen=True) if fault is through_frozen else Needs()
    cls = type("Planted", (Faulty,), {"loss": fault, "needs": needs})
    (result,) = checks.examine(cls(), [getattr(checks, name)])
    assert not result.ok
    assert re.search(words, result.message), result.message


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(classes=1), "needs declares class pictures, yet the loss never looks at them"),
        (Needs(frozen=True), "needs declares the frozen base, yet"),
    ],
)
def test_a_need_that_is_none_is_found(needs, words):
    cls = type("Idle", (Faulty,), {"needs": needs})
    (result,) = checks.examine(cls(), [checks.tells_its_needs])
    assert words in result.message


def test_going_on_without_what_it_needs_is_found():
    class Silent(Faulty):
        needs = Needs(classes=1)

        def __call__(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
            extra = 0 if batch.classes is None else plain(net, batch.classes, schedule)
            return plain(net, batch, schedule) + extra

    class Rude(Faulty):
        needs = Needs(classes=1)

        def __call__(self, net: Any, batch: Any, schedule: Any, frozen: Any = None):
            return plain(net, batch, schedule) + plain(net, batch.classes, schedule)

    said = [checks.examine(cls(), [checks.tells_its_needs])[0].message for cls in (Silent, Rude)]
    assert said[0] == "without class pictures, which needs declares, it gives a loss all the same"
    assert said[1] == "without class pictures it fails in no plain words: AttributeError"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"paper": ""}, "must not be empty"),
        ({"needs": {"classes": 1}}, r"write needs = Needs"),
        ({"needs": Needs(classes=-1)}, "needs.classes is a whole number from 0 up, not -1"),
        ({"needs": Needs(memory=1)}, "memory pictures and prompts go together"),
        ({"needs": Needs(prompts=("a dog",))}, "memory pictures and prompts go together"),
        ({"needs": Needs(memory=1, prompts="a dog")}, "needs.prompts is a tuple of texts"),  # type: ignore[arg-type]
        ({"needs": Needs(drawn=0)}, "needs.drawn is a whole number from 1 up"),
    ],
)
def test_a_wrong_declaration_is_found(facts, words):
    (result,) = checks.examine(type("Odd", (Faulty,), facts)(), [checks.declares_itself])
    assert not result.ok
    assert re.search(words, result.message), result.message


def test_a_hyperparameter_that_no_protocol_can_write():
    @dataclass(frozen=True)
    class Listed(Faulty):
        parts: tuple = (1, 2)

    (result,) = checks.examine(Listed(), [checks.declares_itself])
    assert "cannot be written in a protocol" in result.message


def test_what_an_author_calls(tmp_path):
    checks.check_objective(Prior())
    with pytest.raises(AssertionError, match=r"faulty fails the examination\ngives_a_loss_per_sample: "):
        checks.check_objective(type("Planted", (Faulty,), {"loss": scalar})())
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n", encoding="utf-8")
    (result,) = checks.check_file(file)
    assert (result.ok, result.name) == (False, "registers_an_objective")
