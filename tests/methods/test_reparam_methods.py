"""What is particular to each of the methods that change weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.checks.arena import make_arena, train
from bench.core.rng import rng
from bench.method import LitmusError, Network, attached, load_state, make, state
from bench.method.reparam import flat, thetas, wrap
from bench.network.sites import sites
from methods._penalty import orthogonality

X, C = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.randn(2, 4, 16, generator=rng("c"))
T = torch.tensor([3, 700])


@pytest.fixture(scope="module")
def place():
    return make_arena()


def attach(method, seed=0) -> Any:
    return attached(method, toy_network(), torch.Generator().manual_seed(seed))


def stir(net, keys=("",)):
    """Every trained tensor whose name holds one of `keys`, drawn anew."""
    stream = rng("stir")
    with torch.no_grad():
        for key, p in state(net).items():
            if any(k in key for k in keys):
                p.copy_(0.3 * torch.randn(p.shape, generator=stream))
    return net


def alone(method, w) -> Any:
    """A Linear without bias with the weight `w` and `method` on it."""
    layer: Any = nn.Linear(w.shape[1], w.shape[0], bias=False).requires_grad_(False)
    with torch.no_grad():
        layer.weight.copy_(w)
    wrap(layer, method, method.init(w, rng("init")), method.fixed(w))
    return layer


W = torch.randn(12, 20, generator=rng("w"))


# DiffuseKronA


def test_diffusekrona_adds_the_textbook_product():
    method: Any = make("diffusekrona", a1=4, a2=5)
    layer = alone(method, W)
    with torch.no_grad():
        layer.theta.b.copy_(torch.randn(layer.theta.b.shape, generator=rng("b")))
    expected = W + torch.kron(layer.theta.a[0], layer.theta.b[0])
    torch.testing.assert_close(method.weight(layer.weight, layer.theta), expected)


# SVFit and SVDiff


def test_svfit_moves_the_leading_singular_values_and_no_others():
    method: Any = make("svfit", rank=3)
    layer = alone(method, W)
    with torch.no_grad():
        layer.theta.delta.copy_(torch.tensor([0.5, 0.25, 0.125]))
    before, after = torch.linalg.svdvals(W), torch.linalg.svdvals(method.weight(layer.weight, layer.theta))
    expected = (before + torch.tensor([0.5, 0.25, 0.125] + [0.0] * 9)).sort(descending=True).values
    torch.testing.assert_close(after, expected)


def test_svdiff_never_takes_a_singular_value_below_zero():
    method: Any = make("svdiff")
    layer = alone(method, W)
    with torch.no_grad():
        layer.theta.delta.fill_(-1e3)
    torch.testing.assert_close(method.weight(layer.weight, layer.theta), torch.zeros_like(W), atol=1e-5, rtol=0)


def test_svdiff_scales_a_norm_by_its_one_singular_value():
    net = attach(make("svdiff"))
    norms = [(m, t) for m, t in thetas(net) if isinstance(m, nn.GroupNorm | nn.LayerNorm)]
    assert {type(m) for m, _ in norms} == {nn.GroupNorm, nn.LayerNorm}
    for layer, theta in norms:
        x = torch.randn(2, *layer.weight.shape, generator=rng("n"))
        with torch.no_grad():
            theta.delta.fill_(0.5)
        scaled: Any = copy.deepcopy(layer)
        del scaled.theta, scaled.__dict__["forward"]
        with torch.no_grad():
            scaled.weight.mul_(1 + 0.5 / layer.weight.norm())
        torch.testing.assert_close(layer(x), scaled(x))


def test_svdiff_trains_norms_at_a_rate_of_their_own():
    method = make("svdiff", norm_share=0.01)
    net = attach(method)
    rest, norms = method.groups(net, 1e-2)
    assert rest["lr"] == 1e-2
    assert norms["lr"] == pytest.approx(1e-4)
    assert len(norms["params"]) == len(sites(toy_network(), "norm"))
    assert all(p.shape == (1,) for p in norms["params"])
    assert len(make("svdiff", norms=False).groups(attach(make("svdiff", norms=False)), 1e-2)) == 1


# Bone


def test_bone_is_a_map_of_each_block():
    method: Any = make("bone", rank=4)
    layer = alone(method, W)
    m = torch.randn(3, 4, 4, generator=rng("m"))
    with torch.no_grad():
        layer.theta.m.copy_(m)
    new = method.weight(layer.weight, layer.theta)
    for j in range(3):
        for k in range(5):
            block = W[4 * j : 4 * j + 4, 4 * k : 4 * k + 4]
            mine = new[4 * j : 4 * j + 4, 4 * k : 4 * k + 4]
            torch.testing.assert_close(mine, block + block @ m[j] + m[j])


def test_plain_bone_adds_the_same_rows_to_every_r_inputs():
    method: Any = make("bone", rank=6, form="plain")
    layer = alone(method, W)
    m = torch.randn(6, 12, generator=rng("m"))
    with torch.no_grad():
        layer.theta.m.copy_(m)
    expected = W + torch.cat([m, m, m, m])[:20].T
    torch.testing.assert_close(method.weight(layer.weight, layer.theta), expected)


# PETALface


@pytest.mark.parametrize(("t", "idle"), [(1000, "2"), (0, "1")])
def test_petalface_s_pairs_work_at_the_two_ends(t, idle):
    net = stir(attach(make("petalface")))
    time = torch.tensor([t, t])
    before = net(X, time, C)
    with torch.no_grad():
        for key, p in state(net).items():
            if key.endswith(f"b{idle}"):
                p.zero_()
    assert net(X, time, C).equal(before)
    assert not net(X, torch.tensor([500, 500]), C).allclose(before)


def test_petalface_gates_each_sample_by_its_own_time():
    net = stir(attach(make("petalface")))
    both = net(X, T, C)
    for i in range(2):
        torch.testing.assert_close(net(X[i : i + 1], T[i : i + 1], C[i : i + 1]), both[i : i + 1], rtol=1e-4, atol=1e-5)


def test_petalface_finds_the_right_time_under_checkpointing():
    """Two forwards before one backward: each is run again with its own times."""
    net = stir(attach(make("petalface")))
    net.train()
    grads = []
    for switch in ("disable_gradient_checkpointing", "enable_gradient_checkpointing"):
        getattr(net.denoiser, switch)()
        net.zero_grad(set_to_none=True)
        (net(X, T, C).square().mean() + 2 * net(X, torch.tensor([990, 10]), C).square().mean()).backward()
        grads.append({k: p.grad.clone() for k, p in net.named_parameters() if p.requires_grad})
    for key in grads[0]:
        torch.testing.assert_close(grads[0][key], grads[1][key], rtol=1e-4, atol=1e-6)


def test_petalface_s_copy_reads_times_of_its_own():
    net = stir(attach(make("petalface")))
    net(X, T, C)
    twin = copy.deepcopy(net)
    clocks = {id(theta.clock) for _, theta in thetas(twin)}
    assert len(clocks) == 1
    assert clocks != {id(theta.clock) for _, theta in thetas(net)}
    twin(X, T + 100, C)
    assert thetas(net)[0][1].clock.t.equal(T)


def test_petalface_says_what_it_cannot():
    net = attach(make("petalface"))
    with pytest.raises(LitmusError, match="call the network itself, not its denoiser"):
        net.denoiser(X, T, encoder_hidden_states=C)
    assert not make("petalface").mergeable
    assert make("petalface", gate="constant").mergeable
    with pytest.raises(LitmusError, match="gate is constant or timestep"):
        make("petalface", gate="time")


# DyLoRA


def test_dylora_draws_every_rank_and_the_same_at_the_same_step():
    method = make("dylora", rank=4)
    net, twin = attach(method), attach(method)
    drawn = []
    for i in range(40):
        method.step(net, i, 40)
        drawn.append(thetas(net)[0][1].memory["k"])
        assert {theta.memory["k"] for _, theta in thetas(net)} == {drawn[-1]}
    assert set(drawn) == {1, 2, 3, 4}
    method.step(twin, 17, 40)
    assert thetas(twin)[0][1].memory["k"] == drawn[17]


def test_dylora_s_first_ranks_can_be_used_alone():
    """alpha / k times the first k ranks; a saved state is read under any `use`."""
    whole = stir(attach(make("dylora", rank=4)))
    part: Any = make("dylora", rank=4, use=1)
    net = attach(part, seed=1)
    load_state(net, state(whole))
    layer, theta = thetas(net)[0]
    expected = flat(layer.weight) + 4 / 1 * theta.b[:, :1] @ theta.a[:1]
    torch.testing.assert_close(part.weight(layer.weight, theta), expected)
    assert not net(X, T, C).allclose(whole(X, T, C))


@pytest.mark.parametrize("frozen", [False, True])
def test_dylora_trains_the_ranks_that_were_drawn(frozen):
    net = stir(attach(make("dylora", rank=4, frozen=frozen)))
    for _, theta in thetas(net):
        theta.memory["k"] = 3
    net.train()
    net(X, T, C).square().mean().backward()
    _, theta = thetas(net)[0]
    moved = (theta.a.grad.abs().sum(1) > 0).tolist()
    assert moved == ([False, False, True, False] if frozen else [True, True, True, False])


# MoSA


def test_mosa_s_parts_are_disjoint_whole_and_of_one_size():
    for _, theta in thetas(attach(make("mosa", width=6, share="neither"))):
        for key in ("down_part", "up_part"):
            part = getattr(theta, key)
            assert part.unique(return_counts=True)[1].tolist() == [part.numel() // 4] * 4


def test_mosa_works_with_one_part_in_a_step_and_with_all_afterwards():
    method = make("mosa", width=6)
    net = stir(attach(method))
    whole = net(X, T, C)
    net.train()
    method.step(net, 5, 10)
    assert not net(X, T, C).allclose(whole)
    net(X, T, C).square().mean().backward()
    for _, theta in thetas(net):
        assert not theta.up.grad[theta.up_part != theta.memory["up"]].any()
        assert theta.up.grad.any()
    assert net.eval()(X, T, C).equal(whole)


# DSEE


def test_dsee_s_entries_are_where_the_low_rank_part_fails():
    w = torch.outer(torch.arange(1.0, 13), torch.arange(1.0, 21)) / 20  # rank 1
    w[3, 7] += 9
    w[10, 2] -= 9
    layer = alone(make("dsee", rank=1, sparse=2), w)
    assert sorted(layer.theta.place.tolist()) == [3 * 20 + 7, 10 * 20 + 2]


def test_dsee_prunes_the_smallest_entries_of_w():
    method: Any = make("dsee", prune=0.25)
    layer = alone(method, W)
    new = method.weight(layer.weight, layer.theta)
    assert (new == 0).sum() == W.numel() // 4
    assert new[new != 0].abs().min() > W[new == 0].abs().max()
    assert not method.exact_start
    assert make("dsee").exact_start


# B-LoRA


def test_blora_is_refused_where_there_are_no_such_stages():
    with pytest.raises(LitmusError, match="it is a method for U-Nets, take lora"):
        attached(make("blora"), Network(nn.Sequential(nn.Linear(2, 2))), rng("init"))


def test_blora_s_parts_are_two_halves():
    keys = {part: set(state(attach(make("blora", part=part)))) for part in ("content", "style", "both")}
    assert keys["content"] | keys["style"] == keys["both"]
    assert not keys["content"] & keys["style"]
    assert all(".up_blocks.0.attentions.0." in key for key in keys["content"])


# LoRA with norms


def test_lora_norm_trains_lora_and_every_norm():
    mine, lora = set(state(attach(make("lora_norm")))), set(state(attach(make("lora"))))
    assert lora < mine
    assert all("norm" in key for key in mine - lora)
    assert len(mine - lora) == 2 * len(sites(toy_network(), "norm"))


def test_lora_norm_is_refused_where_norms_have_no_weights():
    with pytest.raises(LitmusError, match="the norms of a Sequential have no weights: take lora"):
        make("lora_norm", targets="linear").count(
            Network(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2, elementwise_affine=False)))
        )


# Growing ranks


@pytest.mark.parametrize("name", ["increlora", "triadaptlora"])
def test_ranks_grow_to_their_mean_and_a_saved_state_needs_no_mask(name, place):
    method: Any = make(name, rank=2, room=3)
    net = attach(method)
    train(method, place, net, steps=24)
    ranks = [theta.ranks for _, theta in thetas(net)]
    assert max(ranks) <= 6
    assert len(set(ranks)) > 1
    assert len(ranks) < sum(ranks) <= 2 * len(ranks)
    if name == "increlora":
        assert sum(ranks) == 2 * len(ranks)
    for _, theta in thetas(net):
        if name == "increlora":
            assert not theta.e[theta.ranks :].any()
            assert theta.e[: theta.ranks].all()
        else:
            middle = method.middle(theta)
            assert not middle[theta.ranks :].any()
            assert not middle[:, theta.ranks :].any()
    back = attach(method, seed=1)
    load_state(back, state(net))
    assert back(X, T, C).equal(net(X, T, C))


def test_increlora_keeps_a_reserve_while_it_grows_and_none_afterwards(place):
    method = make("increlora", rank=2)
    net = attach(method)
    method.step(net, 0, 100)
    for _, theta in thetas(net):
        assert theta.e.tolist() == pytest.approx([0, 1e-5, 0, 0])
    method.step(net, 99, 100)
    assert all(not theta.e.any() for _, theta in thetas(net))


def test_increlora_scores_by_weight_times_gradient():
    method: Any = make("increlora", orth=0.0)
    layer = alone(method, W)
    layer.theta.ranks = 1
    with torch.no_grad():
        layer.theta.e.fill_(0.3)
    layer.weight.requires_grad_(True)
    layer.train()(torch.randn(5, 20, generator=rng("f"))).square().sum().backward()
    delta = (layer.theta.b * layer.theta.e) @ layer.theta.a
    expected = (delta * layer.weight.grad).abs().sum() / 240**0.5
    torch.testing.assert_close(layer.theta.memory["batches"][0], expected.detach())
    method.observe(layer.theta)
    torch.testing.assert_close(layer.theta.memory["mean"], 0.15 * expected.detach())
    torch.testing.assert_close(layer.theta.memory["unrest"], 0.15 * 0.85 * expected.detach())


def test_increlora_s_score_is_the_same_under_checkpointing():
    scores = []
    for switch in ("disable_gradient_checkpointing", "enable_gradient_checkpointing"):
        net = stir(attach(make("increlora")))
        net.train()
        getattr(net.denoiser, switch)()
        net(X, T, C).square().mean().backward()
        scores.append(torch.stack([theta.memory["batches"][0] for _, theta in thetas(net)]))
    assert (scores[0] > 0).all()
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-6)


def test_triadaptlora_s_new_rank_leaves_what_was_learned_in_place():
    method: Any = make("triadaptlora", rank=2)
    layer = alone(method, W)
    with torch.no_grad():
        for p in (layer.theta.lower, layer.theta.upper):
            p.copy_(torch.arange(1.0, 11))
    c = method.middle(layer.theta)
    assert torch.equal(c[:2, :2], torch.tensor([[2.0, 2.0], [2.0, 6.0]]))  # 1 + 1, upper 2; lower 2, 3 + 3
    assert torch.equal(c.tril(-1), c.triu(1).T)
    layer.theta.ranks = 2
    method.settle(layer.theta, growing=False)
    assert torch.equal(method.middle(layer.theta)[:2, :2], c[:2, :2])
    assert not method.middle(layer.theta)[2:].any()


# The families' own parts


def test_the_penalty_of_a_factor_and_its_gradient():
    p = torch.randn(3, 7, generator=rng("p"), requires_grad=True)
    mine = orthogonality(p)
    (0.2 * mine).backward()
    grad, p.grad = p.grad, None
    plain = (p @ p.T - torch.eye(3)).norm()
    (0.2 * plain).backward()
    torch.testing.assert_close(mine, plain)
    torch.testing.assert_close(grad, p.grad)


def test_the_penalty_of_orthogonal_rows_is_zero_and_pulls_nowhere():
    p = torch.eye(3, 7, requires_grad=True)
    orthogonality(p).backward()
    assert p.grad is not None
    assert not p.grad.any()


def test_diffusekrona_takes_the_next_smaller_divisor():
    method: Any = make("diffusekrona")
    assert method.shapes(320, 768) == ((64, 8), (5, 96))
    assert method.shapes(32, 12) == ((32, 6), (1, 2))
    assert method.shapes(7, 11) == ((7, 1), (1, 11))
