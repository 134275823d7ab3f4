"""What is shipped: the pocket base in diffusers' own layout, its evaluators, and a card that is about these weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.bases import pocket
from bench.extractors.pocket import FOLDER as EVALUATORS
from bench.world.styles import PRETRAIN

FOLDER = pocket.FOLDER
DOCS = Path(__file__).resolve().parents[3] / "docs"
pytestmark = pytest.mark.skipif(not (FOLDER / "model_index.json").is_file(), reason="no pocket weights here")


def megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def test_the_sizes_are_within_their_limits():
    assert megabytes(FOLDER) <= 40
    assert megabytes(EVALUATORS) <= 30
    assert not [p for p in [*FOLDER.rglob("*"), *EVALUATORS.rglob("*")] if p.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_diffusers_opens_the_folder_and_its_pictures_are_ours(capsys):
    from diffusers import StableDiffusionPipeline

    from bench.bases import load_base
    from bench.evaluation.sampler import sample_latents
    from bench.protocol.models import Sample

    pipe: Any = StableDiffusionPipeline.from_pretrained(FOLDER)  # as anybody would: no dtype given
    pipe.set_progress_bar_config(disable=True)
    base = load_base("pocket")
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = ["a red car on the beach", "a mug in a room in sketch style"]
    theirs = pipe(prompts, num_inference_steps=8, guidance_scale=4.0, latents=noise, output_type="np").images
    ours = base.decode(sample_latents(base, prompts, noise, Sample(steps=8)))
    assert theirs.shape == (2, 64, 64, 3)
    assert np.abs(theirs - ours.permute(0, 2, 3, 1).numpy()).max() < 0.02


@pytest.mark.draws
def test_latents_are_standard():
    from bench.bases import load_base
    from bench.pretraining.card import to_tensor
    from bench.pretraining.data import base_sample, draw_many

    base = load_base("pocket")
    images, _, _ = draw_many(base_sample, 48, 5, workers=1)
    z = base.encode(to_tensor(images))
    assert z.shape == (48, 4, 16, 16)
    assert z.mean((0, 2, 3)).abs().max() < 0.25
    assert (z.std((0, 2, 3)) - 1).abs().max() < 0.25
    error = (base.decode(z) - to_tensor(images)).square().mean()
    assert -10 * error.log10() > 27


@pytest.mark.draws
def test_evaluators_tell_a_held_out_subject_and_read_a_picture():
    from bench.extractors import load_extractors
    from bench.pretraining.card import accuracy, to_tensor
    from bench.pretraining.data import draw_many
    from bench.pretraining.train_evaluators import full_sample

    ex = load_extractors("pocket")
    images, _, labels = draw_many(full_sample, 96, 6, workers=1)
    shares = accuracy(ex, to_tensor(images), labels)
    assert shares["scene"][0] > 0.9
    assert shares["style"][0] > 0.9
    assert shares["class"][0] > 0.85
    assert set(ex.labels["style"]) == set(PRETRAIN)


def test_the_card_is_about_these_weights():
    figures = json.loads((DOCS / "pocket-base.json").read_text(encoding="utf-8"))
    assert figures["digest"] == pocket.digest(), "weights changed: run `litmus pocket card`"
    text = (DOCS / "pocket-base.md").read_text(encoding="utf-8")
    assert figures["digest"][:16] in text
