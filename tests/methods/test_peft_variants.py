"""LoRA's variants in peft: gradients from pieces of the input, factors in blocks, starts that cancel."""

from __future__ import annotations

import copy

import pytest
import torch

from bench.bases.architectures import shape
from bench.bases.toy import toy_network
from bench.checks import contract as checks
from bench.core.rng import rng
from bench.method import LitmusError, attached, make, parse_spec
from methods._peft import ADAPTER, wrapped


def layers(spec):
    name, hyper = parse_spec(spec)
    return dict(wrapped(attached(make(name, **hyper), toy_network(), torch.Generator().manual_seed(0)).denoiser))


@pytest.fixture(scope="module")
def place():
    return checks.make_arena()


@pytest.mark.parametrize(
    "spec", ["velora[pieces=3]", "bdlora[blocks=3,rank=5]", "bdlora[targets=attn+ff]", "orthogonal[rank=3]"]
)
@pytest.mark.parametrize("check", [checks.starts_at_base, checks.counts_by_formula, checks.merges_into_base])
def test_other_settings_keep_the_contract(spec, check, place):
    name, hyper = parse_spec(spec)
    check(make(name, **hyper), place)


@pytest.mark.parametrize("pieces", [1, 4, 64])
def test_velora_s_gradients_are_peft_s(pieces):
    ours = next(iter(layers(f"velora[pieces={pieces}]").values()))
    torch.nn.init.normal_(ours.lora_B[ADAPTER].weight, generator=rng("b"))
    theirs = copy.deepcopy(ours)
    del theirs.forward
    theirs.train()  # peft takes the short way in training mode alone
    x = torch.randn(2, 5, ours.in_features, generator=rng("x"))
    got = []
    for layer in (ours, theirs):
        z = x.clone().requires_grad_(True)
        layer(z).square().sum().backward()
        got.append((z.grad, layer.lora_A[ADAPTER].weight.grad, layer.lora_B[ADAPTER].weight.grad))
    torch.testing.assert_close(got[0], got[1])


def test_velora_with_a_piece_for_each_input_is_lora():
    """And with fewer it is not: the gradient of A is another."""
    x = torch.randn(2, 5, 16, generator=rng("x"))
    grads = []
    for pieces in (16, 2):
        layer = next(one for one in layers(f"velora[pieces={pieces}]").values() if one.in_features == 16)
        torch.nn.init.ones_(layer.lora_B[ADAPTER].weight)
        layer(x).sum().backward()
        grads.append(layer.lora_A[ADAPTER].weight.grad)
    exact = x.sum((0, 1)).expand_as(grads[0]) * layer.out_features
    torch.testing.assert_close(grads[0], exact)
    assert not torch.allclose(grads[1], exact)


def test_one_factor_is_in_blocks_and_the_closing_layers_have_the_other():
    for path, layer in layers("bdlora[blocks=2]").items():
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        halved = ".to_out." in path
        assert a.shape[1] == layer.in_features // (2 if halved else 1), path
        assert b.shape[1] == a.shape[0] // (1 if halved else 2), path


def test_blocks_save_what_they_leave_out():
    """SD 1.5's attention at rank 4: q, k, v lose half of B, the output projections half of A."""
    net = shape("sd15")
    whole, halved = make("lora", rank=4).count(net), make("bdlora", rank=4, blocks=2).count(net)
    assert (whole, halved) == (797_184, 797_184 - 4 * 8 * 12_480 // 2)


def test_the_orthogonal_start_moves_both_factors():
    for layer in layers("orthogonal").values():
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        assert float(a.detach().norm()) > 0.1 < float(b.detach().norm())
        assert float((b @ a).detach().abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("name", "hyper", "line"),
    [
        ("velora", {"pieces": 0}, "velora: pieces is at least 1, not 0"),
        ("bdlora", {"blocks": 0}, "bdlora: blocks is at least 1, not 0"),
    ],
)
def test_wrong_settings(name, hyper, line):
    with pytest.raises(LitmusError, match=line):
        make(name, **hyper)


def test_unilora_s_vector_stops_where_nothing_looks_it_up():
    """4 ranks of SD 1.5's attention hold 797,184 entries."""
    net = shape("sd15")
    assert make("unilora", length=10_000_000).count(net) == make("lora", rank=4).count(net)
    assert make("unilora", length=300).count(net) == 300
