"""Metrics of torchmetrics on a cell: what each is fed, against torchmetrics called by hand; grids cut back exactly."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.evaluation import pictures
from bench.evaluation.pictures import picture_scores, pictures_of, score_grid
from bench.evaluation.sampler import grid

SSIM = "torchmetrics.StructuralSimilarityIndexMeasure"
FID = "torchmetrics.FrechetInceptionDistance[feature=image]"


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Pictures of 8 bits."""
    return torch.randint(0, 256, (*shape, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) / 255


@pytest.fixture
def uneven(toy_task):
    """The toy task with 2, 1 and 2 truth pictures for its three prompts."""
    first, second, third = toy_task.prompts
    return replace(toy_task, prompts=(first, replace(second, truth=second.truth[:1]), third))


@pytest.fixture(autouse=True)
def _quiet():
    """torchmetrics warns of its own habits, also while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_pairs_are_all_of_one_prompt_and_prompts_weigh_alike(uneven, toy_extractors):
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    cell = noise(3, 2)
    found = picture_scores([SSIM], cell, uneven, toy_extractors)
    truth = uneven.truth_images
    assert [len(x) for x in truth] == [2, 1, 2]
    by_hand = [
        sum(float(torch.as_tensor(ssim(a[None], b[None], data_range=1.0))) for a in mine for b in other)
        / (len(mine) * len(other))
        for mine, other in zip(cell, truth, strict=True)
    ]
    assert found.per_prompt[SSIM] == pytest.approx(by_hand, abs=1e-6)
    assert found.values[SSIM] == pytest.approx(sum(by_hand) / 3, abs=1e-6)
    assert found.notes == []


def test_sets_are_the_cell_and_all_truth(uneven, toy_extractors):
    from torchmetrics.image.fid import FrechetInceptionDistance

    cell = noise(3, 2)
    found = picture_scores([FID], cell, uneven, toy_extractors)
    theirs = FrechetInceptionDistance(feature=pictures._Network(toy_extractors, "image"), normalize=True)
    theirs.update(torch.cat(uneven.truth_images), real=True)
    theirs.update(cell.flatten(0, 1), real=False)
    assert found.values[FID] == pytest.approx(float(theirs.compute()), rel=1e-4)
    assert found.per_prompt == {}


def test_sets_without_truth_are_the_cell_and_the_training_pictures(toy_task, toy_extractors):
    bare = replace(toy_task, prompts=tuple(replace(p, truth=()) for p in toy_task.prompts))
    photos = toy_task.train_images
    near = picture_scores([FID, SSIM], photos[:, None], bare, toy_extractors)
    far = picture_scores([FID], noise(3, 1), bare, toy_extractors)
    assert near.values[FID] == pytest.approx(0, abs=1e-3)
    assert far.values[FID] > 0.1
    assert near.notes == [f"{SSIM} was not computed: the task has no truth pictures to compare with"]


def test_kid_of_loose_sets_is_ours(toy_task, toy_extractors):
    """With gamma 1 on unit features its kernel is (cos + 1)³, ours; ours alone leaves out the pairs of one prompt."""
    from bench.metrics.kid import kid

    name = "torchmetrics.KernelInceptionDistance[feature=image,gamma=1,subset_size=6,subsets=2]"
    cell = noise(3, 2)
    found = picture_scores([name], cell, toy_task, toy_extractors)
    mine = toy_extractors.image(cell.flatten(0, 1)).double().numpy()
    truth = toy_extractors.image(torch.cat(toy_task.truth_images)).double().numpy()
    assert found.values[name] == pytest.approx(kid(mine, truth), rel=1e-4)


def test_clip_score_on_the_extractors_is_ours_times_100(toy_task, toy_extractors):
    name = "torchmetrics.CLIPScore[model_name_or_path=image]"
    cell = noise(3, 2)
    found = picture_scores([name], cell, toy_task, toy_extractors)
    texts = toy_extractors.text([p.plain for p in toy_task.prompts])
    cosines = (toy_extractors.image(cell.flatten(0, 1)).unflatten(0, (3, 2)) * texts[:, None]).sum(-1).mean(1)
    assert found.per_prompt[name] == pytest.approx([100 * max(0.0, float(c)) for c in cosines], abs=1e-3)


def test_alone_sees_all_pictures_at_once(toy_task, toy_extractors):
    name = "torchmetrics.TotalVariation[reduction=mean]"
    cell = noise(3, 2)
    found = picture_scores([name], cell, toy_task, toy_extractors)
    x = cell.flatten(0, 1)
    by_hand = (x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum()) / len(x)
    assert found.values[name] == pytest.approx(float(by_hand), rel=1e-5)


def test_raw_truth_is_not_compared_with_itself(toy_task, toy_extractors):
    cell = torch.stack(toy_task.truth_images)
    found = picture_scores([SSIM, FID, "torchmetrics.TotalVariation"], cell, toy_task, toy_extractors)
    assert list(found.values) == ["torchmetrics.TotalVariation"]
    assert found.notes == []


def test_what_fails_is_a_line_and_the_rest_is_there(toy_task, toy_extractors):
    few = "torchmetrics.KernelInceptionDistance[feature=image]"  # subsets of 1000
    found = picture_scores([few, SSIM, "kid"], noise(3, 1), toy_task, toy_extractors)
    assert list(found.values) == [SSIM]
    assert [line.partition(":")[0] for line in found.notes] == [f"{few} was not computed"]
    assert "subset_size" in found.notes[0]


def test_weights_that_cannot_be_received_are_not_waited_for_again(toy_task, toy_extractors, monkeypatch):
    calls = []

    def offline(one, extractors):
        calls.append(one.spec)
        raise OSError("no network\nand more lines")

    monkeypatch.setattr(pictures, "_made", offline)
    monkeypatch.setattr(pictures, "UNREACHED", {})
    name = "torchmetrics.FrechetInceptionDistance"
    line = f"{name} was not computed: OSError: no network (feature=image takes the extractors' network instead)"
    for _ in range(2):
        assert picture_scores([name], noise(3, 1), toy_task, toy_extractors).notes == [line]
    assert calls == [name]


def test_numbers_do_not_hang_on_what_was_drawn_before(toy_task, toy_extractors):
    name = "torchmetrics.KernelInceptionDistance[feature=image,subset_size=3,subsets=4]"
    one = picture_scores([name], noise(3, 2), toy_task, toy_extractors).values
    before = torch.random.get_rng_state()
    torch.rand(3)
    other = picture_scores([name], noise(3, 2), toy_task, toy_extractors).values
    torch.random.set_rng_state(before)
    assert one == other


@pytest.mark.parametrize("n", [1, 4, 6, 7, 12, 13])
def test_a_grid_is_cut_back_exactly(n, tmp_path):
    images = noise(n, seed=n)
    grid(images, 6).save(tmp_path / "g.png")
    assert pictures_of(tmp_path / "g.png", n, 32).equal(images)


def test_a_grid_of_oblong_pictures(tmp_path):
    images = noise(7)[..., :24, :]
    grid(images, 6).save(tmp_path / "g.png")
    assert pictures_of(tmp_path / "g.png", 7, (24, 32)).equal(images)


@pytest.mark.parametrize(("n", "resolution"), [(6, 32), (13, 32), (7, 16), (0, 32)])
def test_a_grid_of_other_pictures_is_refused(n, resolution, tmp_path):
    grid(noise(7), 6).save(tmp_path / "g.png")
    with pytest.raises(LitmusError, match="is no grid of"):
        pictures_of(tmp_path / "g.png", n, resolution)
    with pytest.raises(LitmusError, match="cannot read the sample grid"):
        pictures_of(tmp_path / "none.png", n, resolution)


def test_a_finished_run_gets_the_same_numbers_from_its_grid(uneven, toy_extractors, tmp_path):
    names = [SSIM, FID, "torchmetrics.TotalVariation"]
    cell = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))  # not of 8 bits
    grid(cell.flatten(0, 1), 6).save(tmp_path / "g.png")
    at_once = picture_scores(names, cell, uneven, toy_extractors)
    later = score_grid(tmp_path / "g.png", uneven, "lora", 2, toy_extractors, names)
    assert at_once.values == later.values
    assert at_once.per_prompt == later.per_prompt
    grid(cell[:, :1].flatten(0, 1), 6).save(tmp_path / "t.png")  # truth: as many a prompt as the fewest
    assert score_grid(tmp_path / "t.png", uneven, "truth", 2, toy_extractors, names).values.keys() == set(names)
