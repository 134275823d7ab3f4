"""The loop: it learns, it repeats, every method of a block sees the same draws, and divergence is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

import pytest
import torch

from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.method import Method, attached, state
from bench.training import loop as trainer
from bench.training.loop import ClassPictures, Diverged, _Batches, _Pictures, fit


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


OPTIONS = {"lr": 3e-3, "steps": 12, "batch": 2}  # twelve: one look at the loss in between and one at the end


def test_it_learns_and_leaves_the_base_alone(forked, toy_base, toy_task):
    before = {k: v.clone() for k, v in toy_base.net.state_dict().items()}
    tuned = forked(Biases())
    start = {k: v.clone() for k, v in tuned.net.state_dict().items()}
    curve = fit(tuned, Biases(), toy_task, lr=1e-2, steps=40, batch=2)
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
        runs.append((fit(tuned, Biases(), toy_task, **OPTIONS), state(tuned.net)))
    assert runs[0][0].running == runs[1][0].running
    assert all(runs[0][1][k].equal(v) for k, v in runs[1][1].items())
    other = fit(forked(Biases()), Biases(), toy_task, **OPTIONS, seed=1)
    assert other.running != runs[0][0].running


def test_the_running_loss_starts_at_the_bases_own(forked, toy_base, toy_task, monkeypatch):
    """The first losses of two methods are equal: same pictures, times and noise, and both start at the base."""
    a = fit(forked(Biases()), Biases(), toy_task, **OPTIONS)
    b = fit(forked(Biases("text")), Biases("text"), toy_task, **OPTIONS)
    assert a.running[0] == pytest.approx(b.running[0])
    assert a.running[-1] != b.running[-1]
    assert a.train[0] == pytest.approx(b.train[0])


def test_tables_are_read_at_start_middle_and_end(forked, toy_task):
    curve = fit(forked(Biases()), Biases(), toy_task, **OPTIONS)
    assert curve.steps == [0, 6, 12]
    assert len(curve.train) == len(curve.heldout) == 3
    curve = fit(forked(Biases()), Biases(), toy_task, **OPTIONS, eval_every=5)
    assert curve.steps == [0, 5, 10, 12]


def test_every_step_has_its_pace_and_no_table_is_in_it(forked, toy_task, monkeypatch):
    import bench.training.loop

    clock = iter(range(10**6))  # a second at every look at the clock
    monkeypatch.setattr(bench.training.loop.time, "perf_counter", lambda: next(clock))
    curve = fit(forked(Biases()), Biases(), toy_task, **OPTIONS)  # a table at 6 and at 12
    assert curve.paces == [2 / 10, 1 / 2]  # three seconds by step 10, one of them the table's; one more by step 12


def test_without_held_out_pictures_there_is_no_such_table(forked, toy_task):
    curve = fit(forked(Biases()), Biases(), replace(toy_task, heldout=()), **OPTIONS)
    assert curve.heldout == []
    assert len(curve.train) == 3


def test_the_tables_of_both_parts_ask_the_same_times_and_noise(forked, toy_task):
    """With the training pictures as held-out ones, both tables are one: what differs is due to the pictures."""
    same = replace(toy_task, heldout=toy_task.train)
    curve = fit(forked(Biases()), Biases(), same, **OPTIONS)
    assert curve.heldout == curve.train


def test_what_trains_nothing_is_read_once(forked, toy_task):
    curve = fit(forked(Nothing()), Nothing(), toy_task, lr=0.0, steps=0)
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
    fit(forked(Watched()), Watched(), toy_task, lr=1e-3, steps=40, batch=2)
    assert seen[:5] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])
    assert seen[-1] == pytest.approx(1e-3)
    assert rates == [(i, 40) for i in range(40)]


def test_progress_is_told(forked, toy_task):
    told = []
    fit(forked(Biases()), Biases(), toy_task, **OPTIONS, progress=lambda *x: told.append(x))
    assert [x[:2] for x in told] == [(10, 12), (12, 12)]
    assert all(x[2] > 0 for x in told)


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_divergence_is_told_with_the_curve(forked, toy_task, lr):
    with pytest.raises(Diverged, match="diverged: loss") as error:
        fit(forked(Biases()), Biases(), toy_task, lr=lr, steps=10, batch=2, clip=0.0)
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
    fit(forked(Biases()), Biases(), toy_task, **OPTIONS, clip=1e-3)
    assert max(norms) <= 1.01e-3


def test_a_trained_text_side_is_encoded_anew(forked, toy_task):
    tuned = forked(Biases("text"))
    before = tuned.encode_text(["a sks robot"]).detach().clone()
    curve = fit(tuned, Biases("text"), toy_task, lr=1e-2, steps=20, batch=2)
    assert not tuned.encode_text(["a sks robot"]).equal(before)
    assert curve.train[-1] != curve.train[0]


def test_every_picture_comes_equally_often(toy_base, toy_task):
    pictures = _Pictures(toy_base, [p.caption for p in toy_task.train], toy_base.encode(toy_task.train_images))
    batches = _Batches(toy_base, pictures, None, "toy", 0, steps=6, batch=2)
    order = batches.sources[0][1]
    assert sorted(order.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    first, second = batches.draw(), batches.draw()
    assert not first.eps.equal(second.eps)
    assert first.x0.equal(pictures.latents[order[:2]])
    assert isinstance(pictures.fixed, torch.Tensor)
    assert isinstance(first.context, torch.Tensor)
    assert first.context.equal(pictures.fixed[order[:2]])


def test_prior_preservation_trains_on_class_pictures_too(forked, toy_base, toy_task):
    classes = ClassPictures(torch.randn(5, 4, 8, 8, generator=rng("test")), ["a robot"] * 5)
    plain = fit(forked(Biases()), Biases(), toy_task, **OPTIONS)
    both = fit(forked(Biases()), Biases(), toy_task, **OPTIONS, objective="prior", classes=classes)
    assert both.running[0] > plain.running[0]
    # the concept's own draws stay what they were: the first loss is the plain one plus that of the class
    source = _Pictures(toy_base, classes.prompts, classes.latents)
    batches = _Batches(toy_base, source, classes, toy_task.name, 0, steps=12, batch=2)
    batch = batches.draw().classes
    assert batch is not None
    extra = trainer.plain(toy_base.net, batch, toy_base.schedule).mean().item()
    assert both.running[0] == pytest.approx(plain.running[0] + extra, rel=1e-5)
    with pytest.raises(ValueError, match="needs class pictures"):
        fit(forked(Biases()), Biases(), toy_task, **OPTIONS, objective="prior")


def test_bf16_runs_under_autocast_with_full_precision_weights(toy_base, toy_task):
    base = replace(toy_base, compute="bf16")
    tuned = base.fork()
    attached(Biases(), tuned.net, rng("init", 0))
    curve = fit(tuned, Biases(), toy_task, **OPTIONS)
    full = toy_base.fork()
    attached(Biases(), full.net, rng("init", 0))
    exact = fit(full, Biases(), toy_task, **OPTIONS)
    assert all(p.dtype == torch.float32 for p in tuned.net.parameters())
    assert curve.running[0] == pytest.approx(exact.running[0], rel=0.05)
    assert curve.running != exact.running


# --- options that came later -----------------------------------------------------------------------------------------


def test_accumulated_batches_are_one_large_batch(forked, toy_task):
    """Two batches of two to a step are the four pictures, times and noise that two steps of two see."""
    options = {"lr": 3e-3, "steps": 2, "batch": 2, "clip": 0.0}
    two = fit(forked(Biases()), Biases(), toy_task, **options, accumulate=2)
    one = fit(forked(Biases()), Biases(), toy_task, **(options | {"steps": 4, "lr": 0.0}), weight_decay=0.0)
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

        fit(tuned, Watched(), toy_task, lr=0.0, steps=2 // accumulate, batch=2, accumulate=accumulate, clip=0.0)
    torch.testing.assert_close(grads["twice"][1], (grads["once"][0] + grads["once"][1]) / 2, atol=1e-7, rtol=1e-4)


def test_min_snr_weighs_each_sample_and_no_table(forked, toy_base, toy_task):
    plain = fit(forked(Biases()), Biases(), toy_task, **OPTIONS)
    curve = fit(forked(Biases()), Biases(), toy_task, **OPTIONS, min_snr=5.0)
    assert curve.train[0] == plain.train[0]
    pictures = _Pictures(toy_base, [p.caption for p in toy_task.train], toy_base.encode(toy_task.train_images))
    batch = _Batches(toy_base, pictures, None, toy_task.name, 0, steps=12, batch=2, min_snr=5.0).draw()
    weight = toy_base.schedule.min_snr(batch.t, 5.0)
    loss = trainer.plain(toy_base.net, replace(batch, weight=None), toy_base.schedule)
    assert curve.running[0] == pytest.approx((weight * loss).mean().item(), rel=1e-5)
    assert curve.running[0] != pytest.approx(plain.running[0], rel=1e-3)


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
    fit(tuned, Followed(), toy_task, **OPTIONS, ema=0.6)
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
        fit(forked(Biases()), Biases(), toy_task, **OPTIONS, optimizer="adamw8bit")


def test_compiled_it_is_the_same_network(forked, toy_task, monkeypatch):
    """The compiler itself takes minutes; that it is asked, and that names and copies survive it, is tested."""
    import copy

    asked = []
    monkeypatch.setattr(torch, "compile", lambda call, *args, **kwargs: asked.append(call) or call)
    tuned = forked(Biases())
    names = list(tuned.net.state_dict())
    curve = fit(tuned, Biases(), toy_task, **OPTIONS, compiled=True)
    assert len(asked) == 1
    assert list(tuned.net.state_dict()) == names == list(copy.deepcopy(tuned.net).state_dict())
    assert curve.running == fit(forked(Biases()), Biases(), toy_task, **OPTIONS).running
