"""Sampling: guidance by its formula, the same pictures in any chunks, the same noise for every method."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.evaluation.sampler import for_sampling, grid, noise_for, sample, sample_latents
from bench.network.schedule import from_scheduler
from bench.protocol.models import Sample

PROMPTS = ["a dog", "a red car", "a dog on the beach"]


def test_guidance_is_its_formula(toy_base):
    x = noise_for(toy_base, 1, "test")
    context = {p: toy_base.encode_text([p]) for p in ("a dog", "")}

    def predict(x, t):
        u, c = (toy_base.net(x, t, context[p]) for p in ("", "a dog"))
        return u + 4.0 * (c - u)

    expected = toy_base.schedule.walk(x, 5, predict)
    found = sample_latents(toy_base, ["a dog"], x, Sample(steps=5))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_guidance_one_is_the_prompt_alone(toy_base):
    x = noise_for(toy_base, 1, "test")
    context = toy_base.encode_text(["a dog"])
    expected = toy_base.schedule.walk(x, 5, lambda x, t: toy_base.net(x, t, context))
    found = sample_latents(toy_base, ["a dog"], x, Sample(steps=5, guidance=1.0))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_it_is_the_stable_diffusion_pipeline_of_diffusers(toy_base):
    """The whole way, text included, against diffusers' own pipeline with the same noise."""
    # any: diffusers' annotations are stricter than its code
    diffusers: Any = importlib.import_module("diffusers")
    # the settings of Stable Diffusion 1.5 and of the pocket base; the pipeline warns of any other offset
    ddim = diffusers.DDIMScheduler(
        prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    base = replace(toy_base, schedule=from_scheduler(ddim))
    pipe = diffusers.StableDiffusionPipeline(
        vae=toy_base.vae,
        text_encoder=toy_base.net.text,
        tokenizer=toy_base.tokenizer,
        unet=toy_base.net.denoiser,
        scheduler=ddim,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    noise = noise_for(toy_base, 2, "test")
    theirs = pipe(
        ["a dog", "a red car"], num_inference_steps=6, guidance_scale=4.0, latents=noise.clone(), output_type="pt",
        height=32, width=32,
    ).images  # fmt: skip
    ours = base.decode(sample_latents(base, ["a dog", "a red car"], noise, Sample(steps=6)))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_chunks_do_not_matter(toy_base):
    x = noise_for(toy_base, 3, "test")
    whole = sample_latents(toy_base, PROMPTS, x, Sample(steps=3))
    parts = sample_latents(toy_base, PROMPTS, x, Sample(steps=3), chunk=2)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)


def test_pictures_by_prompt_and_repeatable(toy_base):
    sampling = Sample(steps=2, per_prompt=2)
    images = sample(toy_base, PROMPTS, sampling, "toy", 0)
    assert images.shape == (3, 2, 3, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    torch.manual_seed(1)
    assert sample(toy_base, PROMPTS, sampling, "toy", 0).equal(images)
    assert not sample(toy_base, PROMPTS, sampling, "toy", 1).allclose(images)
    assert not images[0, 0].allclose(images[0, 1])


def test_sampling_leaves_no_graph(toy_base):
    tuned = toy_base.fork()
    tuned.net.requires_grad_(True)
    assert not sample(tuned, ["a dog"], Sample(steps=1), "toy").requires_grad


@pytest.mark.parametrize(
    ("n", "columns", "size"), [(5, 3, (3 * 8 + 4, 2 * 8 + 2)), (2, 6, (2 * 8 + 2, 8)), (1, 1, (8, 8))]
)
def test_grid_lays_pictures_in_rows(n, columns, size):
    images = torch.zeros(n, 3, 8, 8)
    images[-1, 0] = 1.0
    sheet = grid(images, columns)
    assert sheet.size == size
    assert sheet.getpixel(((n - 1) % columns * 10, (n - 1) // columns * 10)) == (255, 0, 0)
    if n == 5:
        assert sheet.getpixel((8, 0)) == (255, 255, 255)
        assert sheet.getpixel((0, 0)) == (0, 0, 0)


def test_the_layout_for_sampling_changes_no_picture_and_not_the_base(toy_base):
    noise = noise_for(toy_base, 2, "x")
    laid = for_sampling(toy_base)
    assert toy_base.net.denoiser.get_parameter("conv_in.weight").is_contiguous()
    assert not laid.net.denoiser.get_parameter("conv_in.weight").is_contiguous()
    mine, plain = (sample_latents(b, ["a robot", "a dog"], noise, Sample(steps=3)) for b in (laid, toy_base))
    assert torch.allclose(mine, plain, atol=1e-4)
