"""AdaLoRA's penalty and budget, and the starts that look at data."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch

from bench.bases.toy import toy_network
from bench.checks import contract as checks
from bench.checks.arena import train
from bench.core.rng import rng
from bench.method import attached, make, state
from bench.network.sites import sites
from methods._peft import ADAPTER, wrapped
from methods.adamss import _clusters


@pytest.fixture(scope="module")
def place():
    return checks.make_arena()


def adalora(**hyper):
    method = make("adalora", **hyper)
    return method, attached(method, toy_network(), torch.Generator().manual_seed(0))


def grads(net, place, loss=None):
    net.zero_grad(set_to_none=True)
    (place.loss(net) if loss is None else loss(net)).backward()
    return {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}


def penalty(net):
    """As peft adds it to a loss: mean over all P and Q of |X X^T - I|_F."""
    parts = [p.mT if ".lora_B." in k else p for k, p in net.named_parameters() if ".lora_A." in k or ".lora_B." in k]
    return sum((w @ w.mT - torch.eye(len(w))).norm() for w in parts) / len(parts)


def test_the_penalty_is_the_one_that_peft_adds_to_a_loss(place):
    method, net = adalora(orth=0.5)
    plain = adalora(orth=0.0)[1]
    train(make("adalora"), place, net)  # away from the start, where lambda is 0
    plain.load_state_dict(net.state_dict())
    ours = grads(net, place, lambda n: place.loss(n) + method.penalty(n))
    theirs = grads(plain, place, lambda n: place.loss(n) + 0.5 * penalty(n))
    without = grads(plain, place)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-6)
    assert any(not ours[key].allclose(without[key], rtol=1e-2) for key in ours)


def test_a_copy_keeps_scores_of_its_own(place):
    _, net = adalora()
    twin = copy.deepcopy(net)
    first = grads(net, place)
    second = grads(twin, place)
    for key in first:
        torch.testing.assert_close(first[key], second[key])
    a, b = (next(layer for _, layer in wrapped(n.denoiser)) for n in (net, twin))
    assert a.scores is not b.scores
    assert a.seen is not b.seen


def test_budget_falls_from_rank_to_target_and_stays_there(place):
    method, net = adalora(rank=6, target=2)
    lambdas = [p for k, p in state(net).items() if ".lora_E." in k]
    optimiser = torch.optim.AdamW(method.groups(net, 1e-2))
    kept = []
    for i in range(20):
        place.loss(net).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        method.step(net, i, 20)
        kept.append(sum(int((p != 0).sum()) for p in lambdas))
    whole, target = 6 * len(lambdas), 2 * len(lambdas)
    assert kept[:3] == [whole] * 3  # warmup 0.1: steps 0 to 2
    assert all(a >= b for a, b in pairwise(kept))
    assert target < kept[8] < whole
    assert kept[14:] == [target] * 6  # final 0.3
    ranks = {int((p != 0).sum()) for p in lambdas}
    assert len(ranks) > 1, "the budget moves between layers"


def test_clusters_are_all_used_and_repeat():
    rows = torch.randn(40, 3, generator=rng("rows"))
    rows[20:] += 50
    first, k = _clusters(rows, 2, 10)
    assert k == 2
    assert len(set(first[:20].tolist())) == len(set(first[20:].tolist())) == 1
    assert first[0] != first[-1]
    same, k = _clusters(torch.zeros(7, 3), 5, 10)
    assert set(same.tolist()) == set(range(5))
    assert _clusters(torch.zeros(3, 2), 5, 10)[1] == 3


def losses(n=3):
    stream = rng("losses")
    batches = [(torch.randn(2, 4, 8, 8, generator=stream), torch.randn(2, 4, 16, generator=stream)) for _ in range(n)]

    def one(x, context):
        return lambda net: (net(x, torch.tensor([5, 700]), context) - 1).square().mean()

    return [one(*batch) for batch in batches]


def informed(name, seed=0, **hyper):
    method: Any = make(name, **hyper)
    net = toy_network().requires_grad_(False)
    method.attach_data(net, torch.Generator().manual_seed(seed), losses())
    return method, net


@pytest.mark.parametrize("spec", [("eva", {}), ("corda", {}), ("corda", {"mode": "kpm"}), ("lora_ga", {})])
def test_starts_from_data_are_the_base_and_other_than_without(spec, place):
    name, hyper = spec
    method, net = informed(name, **hyper)
    with torch.no_grad():
        torch.testing.assert_close(place.run(net), place.run(toy_network()), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in state(net).values()) == method.count(toy_network())
    blind = attached(method, toy_network(), torch.Generator().manual_seed(0))
    assert all(not p.allclose(state(blind)[k]) for k, p in state(net).items() if ".lora_A." in k)
    again = informed(name, **hyper)[1]
    assert all(p.equal(state(again)[k]) for k, p in state(net).items())
    assert not any(p.grad is not None for p in net.parameters())
    method.merge(net)
    assert net.state_dict().keys() == toy_network().state_dict().keys()


def test_a_start_from_data_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    for name in ("eva", "corda", "lora_ga"):
        informed(name)
    assert torch.get_rng_state().equal(before)


def inputs_of(net, path):
    seen = []
    handle = net.denoiser.get_submodule(path).register_forward_pre_hook(
        lambda m, args: seen.append(args[0].flatten(0, -2))
    )
    for loss in losses():
        loss(net)
    handle.remove()
    return torch.cat(seen)


def test_eva_s_a_spans_the_largest_directions_of_the_inputs():
    _, net = informed("eva", rank=3)
    path = next(p for p in sites(toy_network().denoiser, "attn") if p.endswith("attn2.to_q"))
    layer: Any = net.denoiser.get_submodule(path)
    a = layer.lora_A[ADAPTER].weight  # (3, in)
    _, _, vt = torch.linalg.svd(inputs_of(toy_network(), path), full_matrices=False)
    torch.testing.assert_close(a @ a.mT, torch.eye(3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((a @ vt[:3].mT).abs(), torch.eye(3), rtol=1e-2, atol=2e-2)


def test_corda_s_modes_train_the_two_ends():
    """In ipm what is cut out of W weighs most on the inputs seen, in kpm least."""
    weigh = {}
    for mode in ("ipm", "kpm"):
        _, net = informed("corda", mode=mode)
        path, layer = next(wrapped(net.denoiser))
        x = inputs_of(toy_network(), path)
        weigh[mode] = (x @ layer.get_delta_weight(ADAPTER).mT).norm().item()
    assert weigh["ipm"] > 3 * weigh["kpm"]


def test_lora_ga_follows_the_gradient_of_the_weight():
    method, net = informed("lora_ga", rank=2)
    plain = toy_network()
    path, layer = next(wrapped(net.denoiser))
    w = plain.denoiser.get_parameter(path + ".weight").requires_grad_(True)
    torch.stack([loss(plain) for loss in losses()]).sum().backward()
    assert w.grad is not None
    u, s, vt = torch.linalg.svd(w.grad / 3, full_matrices=False)
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    torch.testing.assert_close((a @ vt[:2].mT).abs(), torch.eye(2), rtol=1e-3, atol=1e-3)
    scale = len(w) ** 0.25 / method.gamma**0.5
    torch.testing.assert_close((u[:, 2:4].mT @ b).abs(), torch.diag(s[2:4]) * scale, rtol=1e-3, atol=1e-4)
