"""Evaluation: the floor and the ceiling are what they should be, and a block is computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.core.paths import results
from bench.evaluation import references as block_module
from bench.evaluation.references import base_pictures, block, class_pictures
from bench.evaluation.score import Drawn, draw, evaluate, look, truth
from bench.protocol.models import Sample
from bench.training.loop import Curve, Diverged

FAST = Sample(steps=2)


@pytest.fixture(autouse=True)
def fresh():
    """Blocks kept in memory belong to another test's home."""
    block_module._block.cache_clear()


def test_a_row_has_pictures_for_all_prompts(toy_base, toy_task):
    drawn = draw(toy_base, toy_task, 0, Sample(steps=2, per_prompt=2))
    assert drawn.cell.shape == (3, 2, 3, 32, 32)
    assert drawn.prior is not None
    assert drawn.drift is not None
    assert drawn.prior.shape == drawn.drift.shape == (2, 2, 3, 32, 32)


def test_another_seed_is_other_noise_for_every_part(toy_base, toy_task):
    first, again, other = (draw(toy_base, toy_task, seed, FAST) for seed in (0, 0, 1))
    for part in ("cell", "prior", "drift"):
        assert getattr(first, part).equal(getattr(again, part))
        assert not getattr(first, part).allclose(getattr(other, part), atol=1e-3)
    assert first.prior is not None
    assert first.drift is not None
    assert not first.prior.allclose(first.drift, atol=1e-3)


def test_the_floor_does_not_drift(toy_base, toy_task, toy_extractors):
    floor = block(toy_base, toy_task, 0, FAST, toy_extractors)
    scores = evaluate(base_pictures(toy_base, toy_task, 0, FAST), floor, toy_extractors, Curve([0], [0.5], [0.7]))
    assert scores.values["drift"] == pytest.approx(0, abs=1e-6)
    assert scores.values["prior_leak"] == pytest.approx(0, abs=1e-6)
    assert scores.values["prior_preservation"] == pytest.approx(1, abs=1e-6)
    assert scores.values["loss_gap"] == pytest.approx(0.2)
    assert len(scores.per_prompt["identity"]) == 3


def test_raw_truth_that_is_the_references_scores_one(toy_base, toy_task, toy_extractors, tmp_path):
    """Truth files replaced by the training picture itself: identity 1 where the reference is that one picture."""
    one = toy_task.train[:1]
    prompts = tuple(replace(p, truth=(one[0].file, one[0].file)) for p in toy_task.prompts)
    task = replace(toy_task, train=one, prompts=prompts)
    floor = block(toy_base, task, 0, FAST, toy_extractors)
    scores = evaluate(truth(toy_base, task, raw=True), floor, toy_extractors)
    assert scores.values["identity"] == pytest.approx(1)
    assert not {"drift", "prior_leak", "loss_train", "kid"} & scores.values.keys()


def test_truth_goes_through_the_vae(toy_base, toy_task):
    raw, through = truth(toy_base, toy_task, raw=True), truth(toy_base, toy_task)
    assert raw.cell.shape == through.cell.shape == (3, 2, 3, 32, 32)
    expected = toy_base.decode(toy_base.encode(raw.cell[1]))
    torch.testing.assert_close(through.cell[1], expected, atol=1e-5, rtol=1e-5)
    without = replace(toy_task, prompts=tuple(replace(p, truth=()) for p in toy_task.prompts))
    with pytest.raises(ValueError, match="no truth"):
        truth(toy_base, without)


def test_a_tuned_network_changes_the_scores(toy_base, toy_task, toy_extractors):
    floor = block(toy_base, toy_task, 0, FAST, toy_extractors)
    tuned = toy_base.fork()
    with torch.no_grad():
        for p in tuned.net.denoiser.parameters():
            p *= 1.1
    scores = evaluate(draw(tuned, toy_task, 0, FAST), floor, toy_extractors).values
    assert scores["drift"] > 1e-3
    assert scores["prior_preservation"] < 1 - 1e-3
    assert scores["prior_leak"] != 0


def test_style_tasks_are_scored_by_style(toy_base, toy_style, toy_extractors):
    floor = block(toy_base, toy_style, 0, FAST, toy_extractors)
    values = evaluate(base_pictures(toy_base, toy_style, 0, FAST), floor, toy_extractors).values
    assert values["concept"] == values["style"]
    assert values["content_leak"] == pytest.approx(0, abs=1e-6)
    assert "identity" not in values


def test_attributes_are_the_classifiers_names(toy_base, toy_task, toy_extractors):
    images = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = look(toy_extractors, images).seen
    logits = toy_extractors.attributes(images.flatten(0, 1))["scene"]
    assert seen["scene"].shape == (3, 2)
    assert seen["scene"][2, 1] == toy_extractors.labels["scene"][logits[5].argmax()]


def test_features_keep_the_order_of_the_pictures(toy_extractors):
    images = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    views = look(toy_extractors, images)
    np.testing.assert_allclose(views.style[1, 1], toy_extractors.style(images[1, 1][None])[0].numpy(), atol=1e-5)


def test_no_held_out_pictures(toy_base, toy_task, toy_extractors):
    task = replace(toy_task, heldout=())
    floor = block(toy_base, task, 0, FAST, toy_extractors)
    values = evaluate(base_pictures(toy_base, task, 0, FAST), floor, toy_extractors).values
    assert "identity" in values
    assert not {"identity_heldout", "memorisation_gap"} & values.keys()


def test_pictures_that_are_not_finite_are_a_divergence(toy_base, toy_task):
    tuned = toy_base.fork()
    with torch.no_grad():
        next(tuned.net.denoiser.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="not finite"):
        draw(tuned, toy_task, 0, FAST)


# --- what a block keeps ---------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """How often the base was sampled."""
    calls = []

    def count(*args):
        calls.append(args)
        return draw(*args)

    monkeypatch.setattr(block_module, "draw", count)
    return calls


def test_a_block_is_sampled_once(toy_base, toy_task, toy_extractors, counted):
    first = base_pictures(toy_base, toy_task, 0, FAST)
    second = base_pictures(toy_base, toy_task, 0, FAST)
    block(toy_base, toy_task, 0, FAST, toy_extractors)
    assert len(counted) == 1
    assert all(getattr(first, name).equal(getattr(second, name)) for name in ("cell", "prior", "drift"))


def test_what_decides_the_pictures_decides_the_key(toy_base, toy_task, counted, picture):
    base_pictures(toy_base, toy_task, 0, FAST)
    base_pictures(toy_base, toy_task, 1, FAST)
    base_pictures(toy_base, toy_task, 0, Sample(steps=3))
    base_pictures(replace(toy_base, digest="other"), toy_task, 0, FAST)
    picture(toy_task.train[0].file, seed=77)
    base_pictures(toy_base, replace(toy_task), 0, FAST)  # a replaced task reads its digest anew
    assert len(counted) == 5


def test_a_broken_cache_file_is_made_anew(toy_base, toy_task, counted):
    first = base_pictures(toy_base, toy_task, 0, FAST)
    (file,) = (results() / ".cache").glob("*")
    for damage in (b"", b"\x00" * 100, file.read_bytes()[:-10]):
        file.write_bytes(damage)
        assert base_pictures(toy_base, toy_task, 0, FAST).cell.equal(first.cell)
    assert len(counted) == 4
    base_pictures(toy_base, toy_task, 0, FAST)
    assert len(counted) == 4
    assert len(list((results() / ".cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(toy_base, toy_task, counted, litmus_home):
    litmus_home.mkdir(parents=True)
    (litmus_home / "results").write_text("a file where a folder should be")
    first = base_pictures(toy_base, toy_task, 0, FAST)
    assert base_pictures(toy_base, toy_task, 0, FAST).cell.equal(first.cell)
    assert len(counted) == 2


def test_class_pictures_are_of_the_plain_training_captions(toy_base, toy_task):
    classes = class_pictures(toy_base, toy_task, 0, FAST, n=5)
    assert classes.prompts[:4] == [
        "a robot on the beach", "a robot in the city", "a robot in the snow", "a robot on the beach",
    ]  # fmt: skip
    assert classes.latents.shape == (5, 4, 8, 8)
    assert class_pictures(toy_base, toy_task, 0, FAST, n=5).latents.equal(classes.latents)
    assert not class_pictures(toy_base, toy_task, 1, FAST, n=5).latents.equal(classes.latents)


def test_truth_has_neither_prior_nor_drift():
    drawn = Drawn(torch.zeros(1, 1, 3, 8, 8))
    assert drawn.prior is None
    assert drawn.drift is None
