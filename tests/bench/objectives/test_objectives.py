"""The losses are what their papers say."""

from __future__ import annotations

import pytest
import torch

from bench.objectives import NEEDS_CLASSES, OBJECTIVES, Batch


def a_batch(base, seed, prompts):
    g = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, len(prompts), *base.latent_shape, generator=g)
    return Batch(x0, eps, torch.tensor([100, 700])[: len(prompts)], base.encode_text(prompts))


def test_plain_is_the_mean_squared_error_of_the_prediction(toy_base):
    batch = a_batch(toy_base, 0, ["a dog", "a car"])
    loss = OBJECTIVES["plain"](toy_base.net, batch, toy_base.schedule)
    one = []
    for i in range(2):  # one by one, through diffusers' own formulas
        abar = toy_base.schedule.alphas_cumprod[batch.t[i]]
        x, e = batch.x0[i : i + 1], batch.eps[i : i + 1]
        v = toy_base.net(abar.sqrt() * x + (1 - abar).sqrt() * e, batch.t[i : i + 1], batch.context[i : i + 1])
        one.append((v - (abar.sqrt() * e - (1 - abar).sqrt() * x)).square().mean())
    torch.testing.assert_close(loss, torch.stack(one))


def test_prior_adds_the_loss_of_the_class_pictures(toy_base):
    mine, other = a_batch(toy_base, 0, ["a sks dog"] * 2), a_batch(toy_base, 1, ["a dog"] * 2)
    plain = OBJECTIVES["plain"]
    both = OBJECTIVES["prior"](toy_base.net, Batch(mine.x0, mine.eps, mine.t, mine.context, other), toy_base.schedule)
    expected = plain(toy_base.net, mine, toy_base.schedule) + plain(toy_base.net, other, toy_base.schedule)
    torch.testing.assert_close(both, expected)


def test_every_objective_gives_a_loss_per_sample(toy_base):
    mine, other = a_batch(toy_base, 0, ["a dog"] * 2), a_batch(toy_base, 1, ["a dog"] * 2)
    for name, objective in OBJECTIVES.items():
        batch = Batch(mine.x0, mine.eps, mine.t, mine.context, other if name in NEEDS_CLASSES else None)
        loss = objective(toy_base.net, batch, toy_base.schedule)
        assert loss.shape == (2,), name
        assert loss.dtype == torch.float32, name


def test_objectives_that_need_class_pictures_say_so(toy_base):
    for name in NEEDS_CLASSES:
        with pytest.raises(ValueError, match="class pictures"):
            OBJECTIVES[name](toy_base.net, a_batch(toy_base, 0, ["a dog"]), toy_base.schedule)
