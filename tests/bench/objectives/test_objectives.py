"""The losses are what their papers say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bench.objectives import OBJECTIVES, Batch, LitmusError, Needs, Objective


def a_batch(base, seed, prompts):
    g = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, len(prompts), *base.latent_shape, generator=g)
    return Batch(x0, eps, torch.tensor([100, 700])[: len(prompts)], base.encode_text(prompts))


def test_plain_is_the_mean_squared_error_of_the_prediction(toy_base):
    batch = a_batch(toy_base, 0, ["a dog", "a car"])
    loss = OBJECTIVES.read("plain")(toy_base.net, batch, toy_base.schedule)
    one = []
    for i in range(2):  # one by one, through diffusers' own formulas
        abar = toy_base.schedule.alphas_cumprod[batch.t[i]]
        x, e = batch.x0[i : i + 1], batch.eps[i : i + 1]
        v = toy_base.net(abar.sqrt() * x + (1 - abar).sqrt() * e, batch.t[i : i + 1], batch.context[i : i + 1])
        one.append((v - (abar.sqrt() * e - (1 - abar).sqrt() * x)).square().mean())
    torch.testing.assert_close(loss, torch.stack(one))


@pytest.mark.parametrize(("spec", "weight"), [("prior", 1.0), ("prior[weight=0.5]", 0.5), ("prior[weight=3]", 3.0)])
def test_prior_adds_the_loss_of_the_class_pictures(toy_base, spec, weight):
    mine, other = a_batch(toy_base, 0, ["a sks dog"] * 2), a_batch(toy_base, 1, ["a dog"] * 2)
    plain = OBJECTIVES.read("plain")
    both = OBJECTIVES.read(spec)(toy_base.net, replace(mine, classes=other), toy_base.schedule)
    expected = plain(toy_base.net, mine, toy_base.schedule) + weight * plain(toy_base.net, other, toy_base.schedule)
    torch.testing.assert_close(both, expected)


def test_a_spec_is_canonical():
    assert OBJECTIVES.read("prior[weight=1]").spec == "prior"
    assert OBJECTIVES.read("prior[weight=0.50]").spec == "prior[weight=0.5]"


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("prir", "unknown objective 'prir': did you mean 'prior'\\? \\(litmus objectives lists "),
        ("prior[wieght=2]", "unknown hyperparameter of prior 'wieght': did you mean 'weight'"),
        ("prior[weight=much]", "prior: weight is a number, not 'much'"),
        ("prior[weight=0]", "weight must be above 0"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec, line):
    with pytest.raises(LitmusError, match=line):
        OBJECTIVES.read(spec)


def test_an_objective_that_lacks_what_it_needs_says_so(toy_base):
    with pytest.raises(LitmusError, match="the objective prior needs class pictures"):
        OBJECTIVES.read("prior")(toy_base.net, a_batch(toy_base, 0, ["a dog"]), toy_base.schedule)
    with pytest.raises(NotImplementedError, match=r"write loss\(self"):
        Objective()(toy_base.net, a_batch(toy_base, 0, ["a dog"]), toy_base.schedule)


def test_needs_are_said_in_words():
    assert Needs().said() == "nothing"
    assert Needs(classes=1, memory=2, frozen=True).said() == "1 class picture, 2 memory pictures, frozen base"


def test_the_registry_needs_no_torch():
    code = (
        "import sys; from bench.objectives import OBJECTIVES; OBJECTIVES.load();"
        "print(OBJECTIVES.read('prior[weight=0.5]').needs.classes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
