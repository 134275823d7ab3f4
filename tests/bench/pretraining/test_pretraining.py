"""How the pocket base is made: tokenizer, optimiser, statistics, a stopped training that goes on."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from bench.pretraining import nets
from bench.pretraining.card import auroc
from bench.pretraining.muon import Muon, orthogonalise
from bench.pretraining.train_denoiser import fold_statistics, train
from bench.pretraining.train_evaluators import contrastive
from bench.pretraining.train_vae import psnr, to_float
from bench.world.captions import vocabulary


def test_every_word_of_the_world_is_one_token_and_others_are_spelt(tmp_path):
    tokenizer = nets.tokenizer(tmp_path)
    for word in vocabulary():
        ids = tokenizer(word).input_ids
        assert len(ids) == 3, word
        assert tokenizer.convert_ids_to_tokens(ids[1]) == f"{word}</w>"
    spelt = tokenizer("zebra").input_ids
    assert len(spelt) > 3
    assert tokenizer.unk_token_id not in spelt[1:-1]


def test_orthogonalise_brings_singular_values_near_one():
    g = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalise(g))
    assert s.min() > 0.5
    assert s.max() < 1.5
    torch.testing.assert_close(orthogonalise(g.T), orthogonalise(g).T)


def test_muon_lowers_a_loss_and_side_by_side_is_the_same():
    from concurrent.futures import ThreadPoolExecutor

    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    after = []
    for pool in (None, ThreadPoolExecutor(2)):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32))
        opt = Muon(net, 0.05)
        first = 0.0
        for _ in range(60):
            loss = (net(x) - x).square().mean()
            first = first or loss.item()
            opt.zero_grad()
            loss.backward()
            opt.step(pool=pool)
        assert loss.item() < 0.5 * first
        after.append([p.detach().clone() for p in net.parameters()])
    assert all(a.equal(b) for a, b in zip(*after, strict=True))


def test_folding_the_statistics_changes_no_picture():
    torch.manual_seed(0)
    vae: Any = nets.vae().eval()
    images = np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3)).astype(np.uint8)
    x = to_float(images)
    with torch.no_grad():
        before = vae.decode(vae.encode(x).latent_dist.mean).sample
        fold_statistics(vae, images)
        z = vae.encode(x).latent_dist.mean
        torch.testing.assert_close(vae.decode(z).sample, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_stopped_training_goes_on_and_lanes_change_nothing(tmp_path):
    tokenizer = nets.tokenizer(tmp_path / "tokenizer")
    ids = tokenizer(["a red car", "a cat"] * 8, padding="max_length", max_length=24, return_tensors="pt").input_ids
    empty = tokenizer([""], padding="max_length", max_length=24, return_tensors="pt").input_ids[0]
    latents = torch.randn(16, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    threads = torch.get_num_threads()
    states = []
    for lanes in (1, 2):
        work = tmp_path / str(lanes)
        (work / "tokenizer").mkdir(parents=True)
        nets.write_tokenizer(work / "tokenizer")
        train(latents, ids, empty, work, samples=16, batch=8, lanes=lanes)
        states.append(torch.load(work / "training.pt", weights_only=True))
    torch.set_num_threads(threads)
    assert states[0]["seen"] == 16
    for key, value in states[0]["model"].items():
        torch.testing.assert_close(value, states[1]["model"][key], atol=1e-4, rtol=1e-3)
    train(latents, ids, empty, tmp_path / "2", samples=24, batch=8, lanes=2)
    assert torch.load(tmp_path / "2" / "training.pt", weights_only=True)["seen"] == 24
    assert (tmp_path / "2" / "unet" / "config.json").exists()


def test_auroc_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 70)
    assert auroc(a, b) == pytest.approx(mannwhitneyu(a, b).statistic / (40 * 70))
    assert auroc(np.ones(3), np.ones(5)) == pytest.approx(0.5)


def test_psnr_of_a_known_error():
    assert psnr(0.04) == pytest.approx(20.0)  # 0.2 of a range of 2 is a tenth


def test_contrastive_loss_prefers_the_right_grouping():
    z = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), dim=1)
    assert contrastive(z, torch.tensor([0, 0, 1, 1])) < contrastive(z, torch.tensor([0, 1, 0, 1]))
