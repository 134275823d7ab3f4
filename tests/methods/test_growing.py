"""Methods that grow, prune or draw while they train: under EMA, over several batches, in budgets, under two seeds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from bench.bases.toy import toy_network
from bench.core.rng import rng
from bench.method import METHODS, LitmusError, attached, figures, fit_budget, make, reach, state, used
from bench.method.reparam import thetas
from bench.protocol.models import Train
from bench.training.loop import fit, penalise
from methods._peft import ADAPTER, wrapped

PENALISED = ["adalora", "increlora", "triadaptlora"]


def attach(method, seed=0) -> Any:
    return attached(method, toy_network(), torch.Generator().manual_seed(seed))


def live(name: str, net: Any) -> list[int]:
    """Ranks in use at each layer, read from the tensors alone."""
    if name == "adalora":
        return [int((layer.lora_E[ADAPTER] != 0).sum()) for _, layer in wrapped(net.denoiser)]
    if name == "increlora":
        return [int((theta.e != 0).sum()) for _, theta in thetas(net)]
    method: Any = make(name)
    return [int((method.middle(theta) != 0).any(1).sum()) for _, theta in thetas(net)]


@pytest.mark.parametrize("name", PENALISED)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mean_of_ema_keeps_what_was_pruned_or_never_grown(name, accumulate, toy_base, toy_task):
    method = make(name)
    tuned = toy_base.fork()
    attached(method, tuned.net, rng("init", 0))
    fit(tuned, method, toy_task, Train(steps=30, batch=2, ema=0.9, accumulate=accumulate), lr=1e-2)
    ranks = live(name, tuned.net)
    if name == "adalora":
        assert sum(ranks) == 8 * len(ranks)  # of the 12 that each begins with
    else:
        assert ranks == [theta.ranks for _, theta in thetas(tuned.net)]
        assert sum(ranks) <= 4 * len(ranks)


@pytest.mark.parametrize("name", PENALISED)
def test_the_penalty_is_no_part_of_the_loss_s_own_gradient(name):
    """Four batches of a step each add their gradient; the penalty is added once beside them, not four times."""
    method = make(name)
    net = attach(method)
    x, t, c = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.tensor([1, 500]), torch.randn(2, 3, 16)

    def grads(parts: int, extra: bool) -> dict[str, torch.Tensor]:
        net.zero_grad(set_to_none=True)
        for _ in range(parts):
            (net(x, t, c).square().mean() / parts).backward()
        if extra:
            penalise(method, net)
        return {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}

    with torch.no_grad():
        for p in state(net).values():
            p.add_(0.05)
    plain, once, four = grads(1, False), grads(1, True), grads(4, True)
    net.zero_grad(set_to_none=True)
    method.penalty(net).backward()  # pyright: ignore
    alone = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    assert alone
    for key, grad in once.items():
        torch.testing.assert_close(grad, plain[key] + alone.get(key, torch.zeros_like(grad)))
        torch.testing.assert_close(grad, four[key], rtol=1e-3, atol=1e-6)


def test_the_penalty_is_that_of_the_papers():
    """The mean over all factors P of |P P^T - 1|, times the weight."""
    method: Any = make("adalora", orth=0.3)
    net = attach(method)
    parts = [p.mT if ".lora_B." in k else p for k, p in net.named_parameters() if ".lora_A." in k or ".lora_B." in k]
    expected = 0.3 * torch.stack([(w @ w.mT - torch.eye(len(w))).norm() for w in parts]).mean()
    torch.testing.assert_close(method.penalty(net), expected)
    grown: Any = make("increlora", orth=0.3)
    net = attach(grown)
    parts = [w for _, theta in thetas(net) for w in (theta.a, theta.b.T)]
    expected = 0.3 * torch.stack([(w @ w.mT - torch.eye(len(w))).norm() for w in parts]).mean()
    torch.testing.assert_close(grown.penalty(net), expected)
    for name in PENALISED:
        assert make(name, orth=0.0).penalty(attach(make(name, orth=0.0))) is None


def test_adalora_scores_the_step_s_gradient_however_many_batches_it_has():
    method: Any = make("adalora")
    x, t, c = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.tensor([1, 500]), torch.randn(2, 3, 16)
    found = []
    for parts in (1, 4):
        net = attach(method)
        with torch.no_grad():
            for p in state(net).values():
                p.add_(0.05)
        for _ in range(parts):
            (net(x, t, c).square().mean() / parts).backward()
        method.step(net, 0, 100)
        layer = next(layer for _, layer in wrapped(net.denoiser))
        found.append(layer.scores["q"][0])
    assert found[0].any()
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-9)


# Budgets


@pytest.mark.parametrize(("name", "rank"), [("increlora", 9), ("triadaptlora", 9), ("adalora", 13)])
def test_a_budget_counts_what_is_in_use(name, rank):
    """LoRA of rank 9 and a method that ends at a mean rank of 9 cost about the same, whatever room it needs."""
    net = toy_network()
    wanted = make("lora", rank=9).count(net)
    fitted: Any = fit_budget(make(name), net, wanted)
    assert fitted.rank == rank or name == "triadaptlora"
    ends = fitted._target() if name == "adalora" else fitted.rank
    assert ends in ((9,) if name != "triadaptlora" else (6, 7, 8))  # its square matrix costs, too
    assert abs(used(fitted, net) - wanted) < 0.1 * wanted
    assert fitted.count(net) > 1.3 * wanted
    _, found, off = reach(make(name), net, wanted / sum(p.numel() for p in net.denoiser.parameters()))
    assert (found, off) == (used(fitted, net), (found - wanted) / wanted)


@pytest.mark.parametrize("name", PENALISED)
def test_figures_tell_what_is_reserved(name):
    method, net = make(name), toy_network()
    found = figures(method, net)
    assert found.trainable == found.used + found.reserved == method.count(net)
    assert 0 < found.reserved < found.trainable
    assert make("lora").reserved(net) == figures(make("lora"), net).reserved == 0


@pytest.mark.parametrize("name", ["increlora", "adalora"])
def test_what_is_reserved_is_zero_after_training(name, toy_base, toy_task):
    method: Any = make(name)
    tuned = toy_base.fork()
    attached(method, tuned.net, rng("init", 0))
    fit(tuned, method, toy_task, Train(steps=40, batch=2), lr=1e-2)
    assert sum(live(name, tuned.net)) == len(live(name, tuned.net)) * (8 if name == "adalora" else method.rank)


# The run's stream


def drawn(name: str, net: Any) -> list[Any]:
    """What each of ten steps draws."""
    method, out = make(name), []
    for i in range(10):
        method.step(net, i, 10)
        if name == "pvera":
            out.append([layer.draw for _, layer in wrapped(net.denoiser)])
        else:
            out.append([dict(theta.memory) for _, theta in thetas(net)])
    return out


@pytest.mark.parametrize("name", ["dylora", "mosa", "pvera"])
def test_each_seed_of_a_board_draws_its_own_and_a_copy_draws_alike(name):
    one = attach(make(name), seed=0)
    twin = copy.deepcopy(one)
    first = drawn(name, one)
    assert first == drawn(name, attach(make(name), seed=0)) == drawn(name, twin)
    assert first != drawn(name, attach(make(name), seed=1))


def test_mosa_s_parts_differ_by_seed_too():
    a, b = (thetas(attach(make("mosa"), seed=seed))[0][1].up_part for seed in (0, 1))
    assert a.shape == b.shape
    assert not a.equal(b)


@pytest.mark.parametrize(
    ("name", "hyper", "now"),
    [
        ("dylora", {"rank": 4, "seed": 3}, {"rank": 4}),
        ("mosa", {"width": 8, "seed": 0}, {"width": 8}),
        ("adalora", {"penalty": 0.25}, {"orth": 0.25}),
    ],
)
def test_hyperparameters_of_older_records_are_still_read(name, hyper, now):
    assert METHODS.stored(name, hyper) == make(name, **now)
    with pytest.raises(LitmusError, match=next(iter(set(hyper) - {"rank", "width"}))):
        make(name, **hyper)


def test_a_method_that_draws_otherwise_than_before_has_another_key():
    """PVeRA's hyperparameters are what they were, so its records would be taken for those of today."""
    from bench.method import source_digest

    assert source_digest(METHODS["pvera"]) == "revision 1"
    assert source_digest(METHODS["vera"]) == source_digest(METHODS["lora"]) == ""


def test_increlora_s_score_is_the_mean_over_the_batches_of_a_step():
    method: Any = make("increlora")
    net = attach(method).train()
    with torch.no_grad():
        for _, theta in thetas(net):
            theta.e.fill_(0.3)  # at its start of 0 nothing scores
    c = torch.randn(2, 3, 16, generator=rng("c"))
    for i in range(2):
        net(torch.randn(2, 4, 8, 8, generator=rng("x", i)), torch.tensor([1, 500]), c).square().mean().backward()
    theta = thetas(net)[0][1]
    first, second = theta.memory["batches"]
    assert not first.equal(second)
    method.observe(theta)
    torch.testing.assert_close(theta.memory["mean"], 0.15 * (first + second) / 2)
