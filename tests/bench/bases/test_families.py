"""Each family, tiny: loaded by its true classes, it draws what its own pipeline draws and trains as it is trained."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bench.bases import load_base
from bench.bases.hub import pipeline
from bench.bases.tiny import TINY
from bench.core.errors import LitmusError
from bench.evaluation.sampler import noise_for, sample_latents
from bench.network.calls import Context
from bench.network.family import FAMILIES, family_of
from bench.protocol.models import Sample

PROMPTS = ["a dog", "a red car on the beach"]
QUIET = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # numpy's, of diffusers
FREE = ("sd15", "sd21", "sdxl", "sd35", "pixart", "flux2-klein")


def their(name: str) -> Any:
    return getattr(importlib.import_module("diffusers"), name)


@pytest.fixture(scope="module")
def base_of(tiny_base):
    """A function: base_of("sdxl") -> the tiny base, in full precision at 64 px, loaded once."""
    loaded: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in loaded:
            loaded[name] = load_base(f"{tiny_base(name)}?dtype=fp32&resolution=64")
        return loaded[name]

    return load


def packed(name: str, noise: torch.Tensor) -> torch.Tensor:
    """Noise (B, C, h, w) as a pipeline takes it."""
    if name.startswith("flux1"):
        return their("FluxPipeline")._pack_latents(noise, *noise.shape)
    return F.pixel_unshuffle(noise, 2) if name.startswith("flux2") else noise


@QUIET
@pytest.mark.parametrize("name", TINY)
def test_it_draws_what_its_own_pipeline_draws(base_of, name):
    """The whole way, text included, with the same noise, against the pipeline that diffusers loads from the folder.

    SD 1.5's folder has a solver that remembers earlier steps (PNDM), and PixArt's one of second order: there the
    pipeline gets DDIM, and the same solver at first order.
    """
    base = base_of(name)
    pipe = pipeline(base)
    pipe.set_progress_bar_config(disable=True)
    more: dict[str, Any] = {}
    if name == "sd15":
        pipe.scheduler = their("DDIMScheduler").from_config(pipe.scheduler.config, clip_sample=False)
    if name == "pixart":
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, solver_order=1)
        more["use_resolution_binning"] = False
    if name == "flux2-klein-distilled":
        more["guidance_scale"] = 1.0
    noise = noise_for(base, 2, "test")
    options: dict[str, Any] = {"guidance_scale": 4.0, "height": 64, "width": 64, "num_inference_steps": 4} | more
    theirs = pipe(prompt=PROMPTS, latents=packed(name, noise.clone()), output_type="pt", **options).images
    latents = sample_latents(base, PROMPTS, noise, Sample(steps=4))
    torch.testing.assert_close(base.decode(latents), theirs.float(), atol=2e-3, rtol=1e-3)
    assert latents.std() > 0.1
    other = sample_latents(base, PROMPTS, noise, Sample(steps=4, guidance=1.5))
    assert other.allclose(latents) == (base.guidance == "none")
    assert base.guidance == ("cfg" if name in FREE else "embedded" if name in ("flux1", "flux2-dev") else "none")


@pytest.mark.parametrize("name", TINY)
def test_latents_go_through_the_codec_and_back(base_of, name):
    """Scaled, shifted or standardised: what is decoded is what the VAE itself makes of its own latents."""
    base = base_of(name)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    z = base.encode(images)
    own = base.vae.encode(images * 2 - 1).latent_dist.mode()
    assert z.shape == (2, *base.latent_shape) == own.shape
    torch.testing.assert_close(base.decode(z), (base.vae.decode(own).sample / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0)
    if name.startswith("flux2"):
        bn = base.vae.bn
        flat = F.pixel_unshuffle(own, 2)
        expected = F.batch_norm(flat, bn.running_mean, bn.running_var, eps=base.vae.config.batch_norm_eps)
        torch.testing.assert_close(F.pixel_unshuffle(z, 2), expected)
    else:
        shift = getattr(base.vae.config, "shift_factor", None) or 0.0
        torch.testing.assert_close(z, (own - shift) * base.vae.config.scaling_factor)


@pytest.mark.parametrize("name", TINY)
def test_times_and_targets_are_those_of_diffusers_training_scripts(base_of, name):
    """Their formulas with their functions: train_text_to_image(_sdxl).py, train_dreambooth_lora_{sd3,flux,flux2}.py."""
    base = base_of(name)
    schedule = base.schedule
    stream = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 6, 4, 4, 4, generator=stream)
    scheduler = base.source.component("scheduler")
    if schedule.kind != "flow":
        theirs = their("DDPMScheduler").from_config(scheduler.config)
        t = schedule.draw(6, stream)
        assert schedule.kind == ("v" if name == "sd21" else "eps")
        torch.testing.assert_close(schedule.add_noise(x0, eps, t), theirs.add_noise(x0, eps, t))
        target = theirs.get_velocity(x0, eps, t) if schedule.kind == "v" else eps
        torch.testing.assert_close(schedule.target(x0, eps, t), target)
        return
    from diffusers.training_utils import compute_density_for_timestep_sampling as density

    t = schedule.draw(6, torch.Generator().manual_seed(5))
    u = density("logit_normal", 6, logit_mean=0.0, logit_std=1.0, generator=torch.Generator().manual_seed(5))
    theirs = their("FlowMatchEulerDiscreteScheduler")(shift=schedule.shift)
    drawn = theirs.timesteps[(u * 1000).long()]
    torch.testing.assert_close(t, drawn)
    torch.testing.assert_close(schedule.add_noise(x0, eps, t), theirs.scale_noise(x0, drawn, eps))
    assert schedule.target(x0, eps, t).equal(eps - x0)


def test_shifts_of_training_are_those_of_sampling(base_of):
    shift = {name: base_of(name).schedule.shift for name in TINY if base_of(name).schedule.kind == "flow"}
    assert (shift["sd35"], shift["flux1-schnell"]) == (3.0, 1.0)
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    assert shift["flux1"] == pytest.approx(math.exp(calculate_shift(16, 256, 4096, 0.5, 1.15)))
    assert shift["flux2-klein"] == pytest.approx(math.exp(compute_empirical_mu(16, 50)))


def test_a_family_is_known_by_its_pipeline():
    assert {name: found.name for name in TINY if (found := family_of(TINY[name].pipeline))} == {
        "sd15": "sd", "sd21": "sd", "sdxl": "sdxl", "sd35": "sd3", "pixart": "pixart", "flux1": "flux",
        "flux1-schnell": "flux", "flux2-dev": "flux2", "flux2-klein": "flux2", "flux2-klein-distilled": "flux2",
    }  # fmt: skip
    assert family_of("WuerstchenCombinedPipeline") is None
    import diffusers

    assert all(hasattr(diffusers, cls) for one in FAMILIES.values() for cls in one.pipelines)


def test_the_empty_prompt_is_what_the_pipeline_guides_away_from(base_of):
    """SDXL's asks for zeros in its place; others encode it."""
    zeros = base_of("sdxl").encode_text(["", "a dog"])
    assert not zeros.states[0].any()
    assert not zeros.pooled[0].any()
    assert zeros.states[1].any()
    assert base_of("sd35").encode_text([""]).states.any()


def test_padding_of_pixart_is_masked(base_of):
    base = base_of("pixart")
    told = base.encode_text(["a dog"])
    x, t = noise_for(base, 1, "x"), torch.tensor([500])
    changed = replace(told, states=torch.where(told.mask[..., None] > 0, told.states, torch.tensor(9.0)))
    with torch.no_grad():
        y = base.net(x, t, told)
        torch.testing.assert_close(base.net(x, t, changed), y)
        assert not base.net(x, t, replace(changed, mask=None)).allclose(y)


def test_text_encoders_are_loaded_once_and_dropped(tiny_base, litmus_home, monkeypatch):
    from bench.bases.texts import Texts

    base = load_base(f"{tiny_base('sd35')}?dtype=fp32&resolution=64&tokens=32")
    assert base.net.text is None
    assert base.texts is not None
    assert base.source is not None
    base.texts.prepare([*PROMPTS, ""])
    first = base.encode_text(PROMPTS)
    assert isinstance(first, Context)
    assert first.shape == (2, 16 + 32, 32)  # CLIP's tokens and then T5's
    assert base.texts.loads == 1
    again = Texts(base.source, torch.device("cpu"))  # as another process
    kept = again(PROMPTS)
    assert again.loads == 0
    assert kept.states.equal(first.states)
    assert kept.pooled is not None
    assert first.pooled is not None
    assert kept.pooled.equal(first.pooled)
    again(["something new"])
    assert again.loads == 1


def test_latents_are_kept_by_content(base_of, monkeypatch):
    base = base_of("sd15")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    first = base.encode(images)
    calls = []
    encode = base.vae.encode
    monkeypatch.setattr(base.vae, "encode", lambda x: calls.append(len(x)) or encode(x))
    assert base.encode(images).equal(first)
    assert calls == []
    mixed = base.encode(torch.stack([images[1], 1 - images[0]]))
    assert mixed[0].equal(first[1])
    assert calls == [1]


def test_methods_of_the_text_side_meet_one_clip_or_a_plain_refusal(base_of):
    base = base_of("sd15").with_text()
    assert type(base.net.text).__name__ == "CLIPTextModel"
    own = base_of("sd15").encode_text(["a dog"]).states
    torch.testing.assert_close(base.encode_text(["a dog"]), own)
    assert base.trigger("sks") == (base.tokenizer.convert_tokens_to_ids("sks</w>"),)
    assert base_of("sdxl").trigger("sks") == ()
    with pytest.raises(LitmusError, match="single CLIP text encoder, which SDXL has not"):
        base_of("sdxl").with_text()


def test_a_merged_denoiser_goes_back_into_its_pipeline(base_of, tmp_path):
    """Saved, it is a base again, with another digest and the changed weights."""
    base = base_of("flux1-schnell")
    net = base.fork().net
    with torch.no_grad():
        for p in net.denoiser.parameters():
            p.mul_(1.01)
    pipeline(base, net.denoiser).save_pretrained(tmp_path / "merged")
    back = load_base(f"{tmp_path / 'merged'}?dtype=fp32&resolution=64")
    assert back.digest != base.digest
    assert all(p.equal(q) for p, q in zip(back.net.parameters(), net.parameters(), strict=True))
    assert pipeline(load_base("pocket")).unet.config.sample_size == 16
    with pytest.raises(LitmusError, match="no pipeline of diffusers behind it"):
        pipeline(load_base("toy"))


@pytest.mark.parametrize("name", ["sd21", "sdxl", "sd35", "pixart", "flux1", "flux2-klein"])
def test_half_precision_holds_frozen_weights_in_half(tiny_base, litmus_home, name):
    base = load_base(f"{tiny_base(name)}?resolution=64")
    assert base.compute == "bf16"
    assert {p.dtype for p in base.net.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in base.vae.parameters()} == {torch.float32}
    assert sample_latents(base, ["a dog"], noise_for(base, 1, "x"), Sample(steps=1)).isfinite().all()


@QUIET
def test_pictures_need_not_be_square(tiny_base, litmus_home):
    base = load_base(f"{tiny_base('sdxl')}?dtype=fp32&resolution=96x64")
    assert base.resolution == (64, 96)
    assert base.latent_shape == (4, 8, 12)
    assert base.encode(torch.rand(1, 3, 64, 96)).shape == (1, 4, 8, 12)
    noise = noise_for(base, 1, "x")
    pipe = pipeline(base)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe("a dog", height=64, width=96, latents=noise.clone(), num_inference_steps=2, output_type="pt",
                  guidance_scale=4.0).images  # fmt: skip
    ours = base.decode(sample_latents(base, ["a dog"], noise, Sample(steps=2)))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)
