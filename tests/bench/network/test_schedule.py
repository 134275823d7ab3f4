"""The schedule agrees with diffusers, and its parts with each other."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from bench.network.schedule import KINDS, Schedule, from_scheduler


def their(name: str) -> Any:
    """A class of diffusers, unseen by the type checker: its annotations are stricter than its code."""
    return getattr(importlib.import_module("diffusers"), name)


def draws(seed=0, n=3):
    g = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, n, 4, 8, 8, generator=g)
    return x0, eps, torch.tensor([0, 500, 999][:n])


def ddim(prediction, **kwargs):
    return their("DDIMScheduler")(prediction_type=prediction, clip_sample=False, **kwargs)


@pytest.mark.parametrize(("prediction", "kind"), [("epsilon", "eps"), ("v_prediction", "v")])
def test_noise_and_target_are_those_of_diffusers(prediction, kind):
    theirs = their("DDPMScheduler")(prediction_type=prediction, clip_sample=False)
    ours = from_scheduler(theirs)
    x0, eps, t = draws()
    assert ours.kind == kind
    torch.testing.assert_close(ours.add_noise(x0, eps, t), theirs.add_noise(x0, eps, t))
    target = eps if kind == "eps" else theirs.get_velocity(x0, eps, t)
    torch.testing.assert_close(ours.target(x0, eps, t), target)


def test_flow_is_that_of_diffusers():
    theirs = their("FlowMatchEulerDiscreteScheduler")()
    ours = from_scheduler(theirs)
    x0, eps, _ = draws()
    t = torch.tensor([1, 500, 1000])
    torch.testing.assert_close(ours.add_noise(x0, eps, t), theirs.scale_noise(x0, t.float(), eps))
    assert ours.target(x0, eps, t).equal(eps - x0)


@pytest.mark.parametrize("kind", KINDS)
def test_split_undoes_target(kind):
    ours = Schedule(kind, torch.linspace(0.999, 0.01, 1000))
    x0, eps, t = draws()
    back = ours.split(ours.add_noise(x0, eps, t), ours.target(x0, eps, t), t)
    torch.testing.assert_close(back[0], x0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(back[1], eps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, (1, 7, 20)),
        ({"set_alpha_to_one": False, "steps_offset": 1, "beta_schedule": "scaled_linear"}, (1, 7, 20)),
        # 7 would not do here: diffusers then steps back by 1000 // 7 instead of to the next listed time
        ({"timestep_spacing": "trailing"}, (1, 20)),
    ],
    ids=["plain", "sd15", "trailing"],
)
def test_walk_is_ddim_of_diffusers(toy_base, prediction, options, steps):
    theirs = ddim(prediction, **options)
    ours = from_scheduler(theirs)
    x, _, _ = draws(n=2)
    context = toy_base.encode_text(["a dog", "a red car"])
    for n in steps:
        theirs.set_timesteps(n)
        assert ours.times(n).tolist() == theirs.timesteps.tolist()
        y = x
        with torch.no_grad():
            for t in theirs.timesteps:
                y = theirs.step(toy_base.net(y, t.expand(2), context), t, y, eta=0.0).prev_sample
            z = ours.walk(x, n, lambda x, t: toy_base.net(x, t, context))
        torch.testing.assert_close(z, y, atol=1e-4, rtol=1e-4)


def test_walk_is_euler_of_diffusers(toy_base):
    theirs = their("FlowMatchEulerDiscreteScheduler")()
    ours = from_scheduler(theirs)
    x, _, _ = draws(n=2)
    context = toy_base.encode_text(["a dog", "a red car"])
    steps = 10
    theirs.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    y = x
    with torch.no_grad():
        for t in theirs.timesteps:
            y = theirs.step(toy_base.net(y, t.expand(2), context), t, y).prev_sample
        z = ours.walk(x, steps, lambda x, t: toy_base.net(x, t, context))
    torch.testing.assert_close(z, y, atol=1e-4, rtol=1e-4)


def test_keys_that_a_scheduler_does_not_take_are_not_read():
    """SDXL's published EulerDiscrete carries DDIM's set_alpha_to_one, which does nothing there."""
    leftover = {"set_alpha_to_one": False, "clip_sample": True, "timestep_spacing": "leading"}
    for name, clean in (("EulerDiscreteScheduler", True), ("DPMSolverMultistepScheduler", True)):
        theirs = their(name).from_config(leftover)
        assert theirs.config["set_alpha_to_one"] is False, "diffusers keeps it"
        assert from_scheduler(theirs).ends_clean == clean
    for name in ("DDIMScheduler", "PNDMScheduler"):
        assert not from_scheduler(their(name).from_config(leftover | {"clip_sample": False})).ends_clean
        assert from_scheduler(their(name)(set_alpha_to_one=True, **_unclipped(name))).ends_clean
    short = their("EulerDiscreteScheduler")(timestep_spacing="leading", final_sigmas_type="sigma_min")
    assert not from_scheduler(short).ends_clean


def _unclipped(name):
    return {"clip_sample": False} if name.startswith("DDIM") else {}


@pytest.mark.parametrize("kind", KINDS)
def test_walk_finds_the_picture_of_a_perfect_denoiser(kind):
    ours = Schedule(kind, torch.linspace(0.9999, 0.001, 1000), ends_clean=True)
    x0, eps, _ = draws(n=2)
    start = ours.times(20)[0].expand(2)
    found = ours.walk(ours.add_noise(x0, eps, start), 20, lambda x, t: ours.target(x0, eps, t))
    torch.testing.assert_close(found, x0, atol=1e-3, rtol=1e-3)


def test_min_snr_is_that_of_diffusers_training_scripts():
    from diffusers.training_utils import compute_snr

    scheduler = ddim("v_prediction")
    ours, t = from_scheduler(scheduler), torch.arange(0, 1000, 37)
    snr = compute_snr(scheduler, t)
    torch.testing.assert_close(ours.snr(t), snr, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.min_snr(t), snr.clamp(max=5) / (snr + 1), rtol=1e-3, atol=1e-6)
    eps = Schedule("eps", ours.alphas_cumprod)
    torch.testing.assert_close(eps.min_snr(t), snr.clamp(max=5) / snr, rtol=1e-3, atol=1e-6)
    assert Schedule("flow", ours.alphas_cumprod).min_snr(t[1:]).eq(1).all()


@pytest.mark.parametrize(("kind", "low", "high"), [("eps", 0, 9), ("flow", 1, 10)])
def test_draw_covers_the_noisy_times(kind, low, high):
    t = Schedule(kind, torch.linspace(0.9, 0.1, 10)).draw(2000, torch.Generator().manual_seed(0))
    assert (t.min().item(), t.max().item()) == (low, high)


def test_refusals():
    with pytest.raises(ValueError, match="clip_sample=False"):
        from_scheduler(their("DDIMScheduler")())
    with pytest.raises(ValueError, match="'sample' is not supported"):
        from_scheduler(ddim("sample"))
    with pytest.raises(ValueError, match="linspace"):
        from_scheduler(ddim("epsilon", timestep_spacing="linspace"))
    with pytest.raises(ValueError, match="unknown kind"):
        Schedule("x0", torch.ones(3))
    with pytest.raises(ValueError, match="between 1 and 3"):
        Schedule("eps", torch.ones(3)).times(4)
