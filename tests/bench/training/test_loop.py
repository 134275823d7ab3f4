"""The loop: it learns, it repeats, every method of a block sees the same draws, and divergence is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import ClassVar

import pytest
import torch

from bench.core.rng import rng
from bench.method import Method, attached, state
from bench.objectives import LitmusError, Needs, Objective
from bench.objectives.plain import plain
from bench.protocol.models import Train
from bench.training.batches import Batches, Captioned
from bench.training.extras import Extras, Pictures
from bench.training.loop import Diverged, fit


@dataclass(frozen=True)
class Biases(Method):
    name = "test-biases"
    paper = "none"
    part: str = "denoiser"

    def attach(self, net, rng):
        for key, p in net.named_parameters():
            p.requires_grad_(key.startswith(self.part) and key.endswith("bias"))


@dataclass(frozen=True)
class Nothing(Method):
    name = "test-nothing"
    paper = "none"
    trains = False

    def attach(self, net, rng):
        pass


@pytest.fixture
def forked(toy_base):
    """A function that gives the toy base forked, with a method attached."""

    def make(method):
        tuned = toy_base.fork()
        attached(method, tuned.net, rng("init", 0))
        return tuned

    return make


TRAIN = Train(steps=12, batch=2)  # twelve: one look at the loss in between and one at the end
LR = 3e-3
NO_CLIP = math.inf


def with_(train, **changes):
    return train.model_copy(update=changes)


def test_it_learns_and_leaves_the_base_alone(forked, toy_base, toy_task):
    before = {k: v.clone() for k, v in toy_base.net.state_dict().items()}
    tuned = forked(Biases())
    start = {k: v.clone() for k, v in tuned.net.state_dict().items()}
    curve = fit(tuned, Biases(), toy_task, Train(steps=40, batch=2), lr=1e-2)
    assert curve.train[-1] < 0.97 * curve.train[0]
    assert len(curve.running) == 40
    assert curve.seconds > 0
    assert all(toy_base.net.state_dict()[k].equal(v) for k, v in before.items())
    moved = {k for k, v in tuned.net.state_dict().items() if not v.equal(start[k])}
    assert moved
    assert moved <= state(tuned.net).keys()
    assert not tuned.net.training


def test_it_repeats_whatever_the_global_stream_does(forked, toy_task):
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        tuned = forked(Biases())
        runs.append((fit(tuned, Biases(), toy_task, TRAIN, lr=LR), state(tuned.net)))
    assert runs[0][0].running == runs[1][0].running
    assert all(runs[0][1][k].equal(v) for k, v in runs[1][1].items())
    other = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, seed=1)
    assert other.running != runs[0][0].running


def test_the_running_loss_starts_at_the_bases_own(forked, toy_base, toy_task, monkeypatch):
    """The first losses of two methods are equal: same pictures, times and noise, and both start at the base."""
    a = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR)
    b = fit(forked(Biases("text")), Biases("text"), toy_task, TRAIN, lr=LR)
    assert a.running[0] == pytest.approx(b.running[0])
    assert a.running[-1] != b.running[-1]
    assert a.train[0] == pytest.approx(b.train[0])


def test_tables_are_read_at_start_middle_and_end(forked, toy_task):
    curve = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR)
    assert curve.steps == [0, 6, 12]
    assert len(curve.train) == len(curve.heldout) == 3
    curve = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, eval_every=5)
    assert curve.steps == [0, 5, 10, 12]


def test_every_step_has_its_pace_and_no_table_is_in_it(forked, toy_task, monkeypatch):
    import bench.training.loop

    clock = iter(range(10**6))  # a second at every look at the clock
    monkeypatch.setattr(bench.training.loop.time, "perf_counter", lambda: next(clock))
    curve = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR)  # a table at 6 and at 12
    assert curve.paces == [2 / 10, 1 / 2]  # three seconds by step 10, one of them the table's; one more by step 12


def test_without_held_out_pictures_there_is_no_such_table(forked, toy_task):
    curve = fit(forked(Biases()), Biases(), replace(toy_task, heldout=()), TRAIN, lr=LR)
    assert curve.heldout == []
    assert len(curve.train) == 3


def test_the_tables_of_both_parts_ask_the_same_times_and_noise(forked, toy_task):
    """With the training pictures as held-out ones, both tables are one: what differs is due to the pictures."""
    same = replace(toy_task, heldout=toy_task.train)
    curve = fit(forked(Biases()), Biases(), same, TRAIN, lr=LR)
    assert curve.heldout == curve.train


def test_what_trains_nothing_is_read_once(forked, toy_task):
    curve = fit(forked(Nothing()), Nothing(), toy_task, Train(), lr=0.0)
    assert curve.steps == [0]
    assert curve.running == []
    assert len(curve.heldout) == 1


def test_the_rate_rises_then_stays(forked, toy_task, monkeypatch):
    rates = []

    @dataclass(frozen=True)
    class Watched(Biases):
        def groups(self, net, lr):
            self_groups = super().groups(net, lr)
            groups.append(self_groups[0])
            return self_groups

        def step(self, net, i, n):
            rates.append((i, n))

    groups: list[dict] = []
    seen = []
    adamw = torch.optim.AdamW

    class Spy(adamw):
        def step(self, *args, **kwargs):
            seen.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    fit(forked(Watched()), Watched(), toy_task, Train(steps=40, batch=2), lr=1e-3)
    assert seen[:5] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])
    assert seen[-1] == pytest.approx(1e-3)
    assert rates == [(i, 40) for i in range(40)]


def test_progress_is_told(forked, toy_task):
    told = []
    fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, progress=lambda *x: told.append(x))
    assert [x[:2] for x in told] == [(10, 12), (12, 12)]
    assert all(x[2] > 0 for x in told)


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_divergence_is_told_with_the_curve(forked, toy_task, lr):
    with pytest.raises(Diverged, match="diverged: loss") as error:
        fit(forked(Biases()), Biases(), toy_task, Train(steps=10, batch=2, clip=NO_CLIP), lr=lr)
    assert error.value.curve.steps[0] == 0
    assert len(error.value.curve.running) >= 10


def test_clipping_bounds_the_step(forked, toy_task, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(params, limit, **kwargs):
        params = list(params)
        clip(params, limit, **kwargs)
        norms.append(torch.stack([p.grad.norm() for p in params if p.grad is not None]).norm().item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    fit(forked(Biases()), Biases(), toy_task, with_(TRAIN, clip=1e-3), lr=LR)
    assert max(norms) <= 1.01e-3


def test_a_trained_text_side_is_encoded_anew(forked, toy_task):
    tuned = forked(Biases("text"))
    before = tuned.encode_text(["a sks robot"]).detach().clone()
    curve = fit(tuned, Biases("text"), toy_task, Train(steps=20, batch=2), lr=1e-2)
    assert not tuned.encode_text(["a sks robot"]).equal(before)
    assert curve.train[-1] != curve.train[0]


def test_every_picture_comes_equally_often(toy_base, toy_task):
    pictures = Captioned(toy_base, [p.caption for p in toy_task.train], toy_base.encode(toy_task.train_images))
    batches = Batches(toy_base, pictures, Needs(), Extras(), "toy", 0, Train(steps=6, batch=2))
    order = batches.own.order
    assert sorted(order.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    first, second = batches.draw(), batches.draw()
    assert not first.eps.equal(second.eps)
    assert first.x0.equal(pictures.latents[order[:2]])
    assert isinstance(pictures.fixed, torch.Tensor)
    assert isinstance(first.context, torch.Tensor)
    assert first.context.equal(pictures.fixed[order[:2]])


CLASSES = Pictures(torch.randn(5, 4, 8, 8, generator=rng("test")), ["a robot"] * 5)


def test_prior_preservation_trains_on_class_pictures_too(forked, toy_base, toy_task):
    extras = Extras(classes=CLASSES)
    alone = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR)
    both = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, objective="prior", extras=extras)
    assert both.running[0] > alone.running[0]
    # the concept's own draws stay what they were: the first loss is the plain one plus that of the class
    source = Captioned(toy_base, CLASSES.prompts, CLASSES.latents)
    batch = Batches(toy_base, source, Needs(classes=1), extras, toy_task.name, 0, TRAIN).draw().classes
    assert batch is not None
    extra = plain(toy_base.net, batch, toy_base.schedule).mean().item()
    assert both.running[0] == pytest.approx(alone.running[0] + extra, rel=1e-5)
    half = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, objective="prior[weight=0.5]", extras=extras)
    assert half.running[0] == pytest.approx(alone.running[0] + extra / 2, rel=1e-5)
    assert half.train[0] == both.train[0] == alone.train[0]  # tables are read with the plain loss
    with pytest.raises(LitmusError, match="the objective prior needs class pictures"):
        fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR, objective="prior")


@dataclass(frozen=True)
class Everything(Objective):
    """Keeps what it is given."""

    name, paper = "everything", "none"
    needs = Needs(classes=2, memory=3, prompts=("a {} in the snow",), frozen=True)
    given: ClassVar[list] = []

    def loss(self, net, batch, schedule, frozen=None):
        self.given.append((batch, frozen))
        return plain(net, batch, schedule)


@pytest.mark.parametrize("part", ["denoiser", "text"])
def test_an_objective_gets_what_it_declares(forked, toy_base, toy_task, part):
    Everything.given.clear()
    train = Train(steps=3, batch=2, accumulate=2, min_snr=5.0)
    extras = Extras(CLASSES, replace(CLASSES, prompts=["a dog"] * 5), toy_base.net)
    tuned = forked(Biases(part))
    before = {k: v.clone() for k, v in toy_base.net.state_dict().items()}
    curve = fit(tuned, Biases(part), toy_task, train, lr=1e-2, objective=Everything(), extras=extras)
    assert len(Everything.given) == 6
    for batch, frozen in Everything.given:
        assert frozen is toy_base.net, "the network itself: no copy per step"
        assert [len(one.x0) for one in (batch, batch.classes, batch.memory)] == [2, 4, 6]
        assert [one.weight.shape for one in (batch, batch.classes, batch.memory)] == [(2,), (4,), (6,)]
    assert all(toy_base.net.state_dict()[k].equal(v) for k, v in before.items())
    # The untouched base reads the captions as it did, also where the text side is what is trained.
    last, first = Everything.given[-1][0], Everything.given[0][0]
    assert first.frozen_context.equal(first.context)
    assert last.frozen_context.equal(last.context) == (part == "denoiser")
    # Nobody's draws are moved by what another objective asks for.
    alone = fit(forked(Biases(part)), Biases(part), toy_task, train, lr=1e-2)
    assert alone.running == curve.running
    eps = [one.eps.flatten() for one in (first, first.classes, first.memory)]
    assert not any(a[: len(b)].equal(b[: len(a)]) for a, b in ((eps[0], eps[1]), (eps[0], eps[2]), (eps[1], eps[2])))
    for missing in ("classes", "memory", "frozen"):
        less = replace(extras, **{missing: None})
        with pytest.raises(LitmusError, match="the objective everything needs "):
            fit(tuned, Biases(part), toy_task, train, lr=1e-2, objective=Everything(), extras=less)


def test_bf16_runs_under_autocast_with_full_precision_weights(toy_base, toy_task):
    base = replace(toy_base, compute="bf16")
    tuned = base.fork()
    attached(Biases(), tuned.net, rng("init", 0))
    curve = fit(tuned, Biases(), toy_task, TRAIN, lr=LR)
    full = toy_base.fork()
    attached(Biases(), full.net, rng("init", 0))
    exact = fit(full, Biases(), toy_task, TRAIN, lr=LR)
    assert all(p.dtype == torch.float32 for p in tuned.net.parameters())
    assert curve.running[0] == pytest.approx(exact.running[0], rel=0.05)
    assert curve.running != exact.running


# --- options that came later -----------------------------------------------------------------------------------------


def test_accumulated_batches_are_one_large_batch(forked, toy_task):
    """Two batches of two to a step are the four pictures, times and noise that two steps of two see."""
    train = Train(steps=2, batch=2, clip=NO_CLIP)
    two = fit(forked(Biases()), Biases(), toy_task, with_(train, accumulate=2), lr=LR)
    one = fit(forked(Biases()), Biases(), toy_task, with_(train, steps=4, weight_decay=0.0), lr=0.0)
    assert two.running[0] == pytest.approx((one.running[0] + one.running[1]) / 2, rel=1e-5)
    assert len(two.running) == 2


def test_accumulated_gradients_are_averaged(forked, toy_base, toy_task):
    grads = {}
    for name, accumulate in (("once", 1), ("twice", 2)):
        tuned = forked(Biases())
        seen = grads[name] = []

        @dataclass(frozen=True)
        class Watched(Biases):
            def groups(self, net, lr, seen=seen):
                groups = super().groups(net, lr)
                for p in groups[0]["params"][:1]:
                    p.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
                return groups

        train = Train(steps=2 // accumulate, batch=2, accumulate=accumulate, clip=NO_CLIP)
        fit(tuned, Watched(), toy_task, train, lr=0.0)
    torch.testing.assert_close(grads["twice"][1], (grads["once"][0] + grads["once"][1]) / 2, atol=1e-7, rtol=1e-4)


def test_min_snr_weighs_each_sample_and_no_table(forked, toy_base, toy_task):
    alone = fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR)
    curve = fit(forked(Biases()), Biases(), toy_task, with_(TRAIN, min_snr=5.0), lr=LR)
    assert curve.train[0] == alone.train[0]
    pictures = Captioned(toy_base, [p.caption for p in toy_task.train], toy_base.encode(toy_task.train_images))
    batch = Batches(toy_base, pictures, Needs(), Extras(), toy_task.name, 0, with_(TRAIN, min_snr=5.0)).draw()
    weight = toy_base.schedule.min_snr(batch.t, 5.0)
    loss = plain(toy_base.net, replace(batch, weight=None), toy_base.schedule)
    assert curve.running[0] == pytest.approx((weight * loss).mean().item(), rel=1e-5)
    assert curve.running[0] != pytest.approx(alone.running[0], rel=1e-3)


def test_a_running_mean_is_diffusers_s(forked, toy_task):
    from diffusers.training_utils import EMAModel

    theirs = []

    @dataclass(frozen=True)
    class Followed(Biases):
        def step(self, net, i, n):
            trained = [p for p in net.parameters() if p.requires_grad]
            if not theirs:
                start = forked(Biases()).net
                first = [p for p in start.parameters() if p.requires_grad]
                theirs.append(EMAModel(first, decay=0.6))
            theirs[0].step(trained)

    tuned = forked(Followed())
    fit(tuned, Followed(), toy_task, with_(TRAIN, ema=0.6), lr=LR)
    for mine, other in zip(state(tuned.net).values(), theirs[0].shadow_params, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_the_peak_of_a_gpu_is_of_steps_and_not_of_tables(monkeypatch):
    from bench.training.loop import _Allocated

    peak = {"now": 0}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.update(now=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak["now"])
    watch = _Allocated(torch.device("cuda"))
    for step, table in ((5, 90), (7, 90), (6, 0)):
        peak["now"] = step
        watch.most()
        peak["now"] = table
        watch.begin()
    assert watch.most() == 7
    assert _Allocated(torch.device("cpu")).most() is None


def test_eight_bits_without_bitsandbytes_is_a_plain_refusal(forked, toy_task):
    if find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(LitmusError, match="pip install 'peft-litmus"):
        fit(forked(Biases()), Biases(), toy_task, with_(TRAIN, optimizer="adamw8bit"), lr=LR)


def test_compiled_it_is_the_same_network(forked, toy_task, monkeypatch):
    """The compiler itself takes minutes; that it is asked, and that names and copies survive it, is tested."""
    import copy

    asked = []
    monkeypatch.setattr(torch, "compile", lambda call, *args, **kwargs: asked.append(call) or call)
    tuned = forked(Biases())
    names = list(tuned.net.state_dict())
    curve = fit(tuned, Biases(), toy_task, with_(TRAIN, compile=True), lr=LR)
    assert len(asked) == 1
    assert list(tuned.net.state_dict()) == names == list(copy.deepcopy(tuned.net).state_dict())
    assert curve.running == fit(forked(Biases()), Biases(), toy_task, TRAIN, lr=LR).running
