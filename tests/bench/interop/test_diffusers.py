"""pipe.load_lora_weights(folder) gives our pictures on the pocket base; test_chain.py has every family."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

from bench.core.errors import LitmusError
from bench.interop import facts, files, foreign
from bench.interop.adapters import export, put

PROMPTS = ["a sks mug on the beach", "a red car in the forest"]
LORAS = ("lora[rank=2,alpha=6]", "dora[rank=2]", "pissa[rank=2]", "mica[rank=3]")


@pytest.fixture(scope="session")
def pocket():
    from bench.bases import load_base

    return load_base("pocket")


@pytest.fixture
def pipeline():
    """The pocket base as anybody loads it."""
    from bench.bases.pocket import FOLDER

    diffusers = importlib.import_module("diffusers")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(FOLDER)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(base, steps: int = 4) -> torch.Tensor:
    from bench.evaluation.sampler import noise_for, sample_latents
    from bench.protocol.models import Sample

    noise = noise_for(base, len(PROMPTS), "interop")
    return base.decode(sample_latents(base, PROMPTS, noise, Sample(steps=steps, guidance=3.0)))


def drawn_by(pipe, base, steps: int = 4) -> torch.Tensor:
    from bench.evaluation.sampler import noise_for

    noise = noise_for(base, len(PROMPTS), "interop")
    out = pipe(PROMPTS, latents=noise, num_inference_steps=steps, guidance_scale=3.0, output_type="pt")
    return out.images


@pytest.mark.parametrize("spec", ["lora[rank=2,alpha=6]", "pissa[rank=2]"])
def test_load_lora_weights_gives_our_pictures(pocket, pipeline, trained, kept, tmp_path, spec):
    tuned, method = trained(pocket, spec, by=0.02)
    folder, said = export(put(pocket, kept(pocket, tuned, method)), "diffusers", tmp_path / "lora")
    assert said.startswith("LoRA on")
    pipeline.load_lora_weights(str(folder))
    wanted, plain = drawn(tuned), drawn(pocket)
    assert (wanted - plain).abs().max() > 0.05
    assert (drawn_by(pipeline, pocket) - wanted).abs().max() < 2e-3


@pytest.mark.parametrize("spec", LORAS)
def test_what_is_written_is_read_back(toy_base, trained, kept, answer, tmp_path, spec):
    tuned, method = trained(toy_base, spec)
    folder, _ = export(put(toy_base, kept(toy_base, tuned, method)), "diffusers", tmp_path / "lora")
    back = put(toy_base, tmp_path / "lora" / files.DIFFUSERS_NAME)
    torch.testing.assert_close(answer(back.base.net), answer(tuned.net), atol=2e-5, rtol=1e-4)
    assert back.facts.trigger == "sks"
    assert back.facts.scores == {"identity": 0.5}
    header = files.metadata(folder / files.DIFFUSERS_NAME)
    assert header["modelspec.trigger_phrase"] == "sks"
    assert "Apache-2.0" in header["modelspec.license"]
    assert json.loads(header[foreign.METADATA])["unet.r"] >= 2


def test_a_file_that_diffusers_wrote_is_read(toy_base, trained, answer, tmp_path):
    """diffusers' own names of a file written by its own function, scales in its own header."""
    from peft.utils import get_peft_model_state_dict

    diffusers = importlib.import_module("diffusers")
    tuned, _ = trained(toy_base, "lora[rank=2,alpha=6]")
    unet = tuned.net.denoiser
    layers = diffusers.utils.convert_state_dict_to_diffusers(
        get_peft_model_state_dict(unet, save_embedding_layers=False)
    )
    pipe = diffusers.StableDiffusionPipeline
    said = {"r": 2, "lora_alpha": 6}
    pipe.save_lora_weights(str(tmp_path), unet_lora_layers=layers, unet_lora_adapter_metadata=said)
    assert any("to_q.lora" in key or "to_q_lora" in key for key in files.read(tmp_path / files.DIFFUSERS_NAME)[0])
    back = put(toy_base, tmp_path)
    assert back.facts == facts.Facts()
    torch.testing.assert_close(answer(back.base.net), answer(tuned.net), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spec", ["increlora", "dylora[rank=2]", "adalora"])
def test_any_change_of_low_rank_is_a_lora(toy_base, trained, kept, answer, tmp_path, spec):
    tuned, method = trained(toy_base, spec)
    _, said = export(put(toy_base, kept(toy_base, tuned, method)), "diffusers", tmp_path / "lora")
    assert "left out" not in said
    torch.testing.assert_close(
        answer(put(toy_base, tmp_path / "lora").base.net), answer(tuned.net), atol=2e-5, rtol=1e-4
    )


def test_other_changes_are_refused_or_taken_nearest(toy_base, trained, kept, tmp_path):
    for spec, reason in (
        ("bias", "bias is changed"),
        ("oft", "is no LoRA"),
        ("adapter", "cannot be merged"),
    ):
        tuned, method = trained(toy_base, spec)
        with pytest.raises(LitmusError, match=reason):
            export(put(toy_base, kept(toy_base, tuned, method)), "diffusers", tmp_path / "x")
    tuned, method = trained(toy_base, "oft")
    _, said = export(put(toy_base, kept(toy_base, tuned, method)), "diffusers", tmp_path / "near", rank=4)
    assert "rank 4; " in said
    assert said.endswith("is left out at most")
    assert Path(tmp_path / "near" / files.DIFFUSERS_NAME).is_file()
