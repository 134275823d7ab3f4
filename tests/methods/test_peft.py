"""peft's tuners where the contract's checks do not look: other settings, penalties, budgets, starts from data."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch

from bench.bases.toy import toy_network
from bench.checks import contract as checks
from bench.core.rng import rng
from bench.method import METHODS, LitmusError, attached, make, parse_spec, state
from methods._peft import ADAPTER, Tuner, divisor, drawn_from, wrapped
from methods._unavailable import UNAVAILABLE

OWN = sorted(name for name, cls in METHODS.items() if issubclass(cls, Tuner))
INPUT = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.tensor([3, 9]), torch.randn(2, 4, 16, generator=rng("c"))


def attach(spec, seed=0):
    name, hyper = parse_spec(spec)
    return attached(make(name, **hyper), toy_network(), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def place():
    return checks.make_arena()


def test_every_tuner_of_the_installed_peft_is_a_method_or_has_a_reason():
    import peft

    assert len(OWN) == 44
    theirs = {str(kind.value).lower() for kind in peft.PEFT_TYPE_TO_CONFIG_MAPPING}
    assert theirs <= METHODS.keys() | UNAVAILABLE.keys()
    assert not METHODS.keys() & UNAVAILABLE.keys() - {"bone"}  # Bone has a file of its own
    assert all(reason and "\n" not in reason for reason in UNAVAILABLE.values())


@pytest.mark.parametrize("name", OWN)
def test_entry_is_declared_in_full(name):
    cls = METHODS[name]
    assert cls.formula
    assert cls.__doc__
    assert "lr" in cls.space
    assert cls.size_field is None or cls.size_field in cls.space


@pytest.mark.parametrize(
    "spec",
    [
        "rslora[targets=attn+conv,alpha=none]",
        "dora[targets=attn2+conv]",
        "adalora[targets=attn+conv,target=3]",
        "loha[targets=attn2+conv]",
        "hra[rank=3]",
        "hra[targets=attn1+conv]",
        "boft[targets=attn1+conv]",
        "deft[decomposition=relu]",
        "deft[para=true]",
        "peanut[depth=1]",
        "miss[form=bat]",
        "miss[form=mini]",
        "miss[rank=5]",
        "road[variant=4,group_size=10]",
        "fourierft[start=normal,scale=5.0]",
        "c3a[start=zero]",
        "tinylora[tying=0.7]",
        "lokr[factor=-1,rank=1]",
        "ia3[targets=attn+ff,inputs=attn2+ff]",
        "randlora[bases=3]",
        "gralora[rank=3]",
        "supertuning[targets=ff]",
    ],
)
@pytest.mark.parametrize("check", [checks.starts_at_base, checks.counts_by_formula, checks.merges_into_base])
def test_other_settings_keep_the_contract(spec, check, place):
    name, hyper = parse_spec(spec)
    check(make(name, **hyper), place)


@pytest.mark.parametrize(
    ("name", "hyper", "line"),
    [
        ("vera", {"rank": 0}, "vera: rank is above 0, not 0"),
        ("adalora", {"target": 20}, "target is from 1 to rank, 12, not 20"),
        ("road", {"variant": 3}, "variant is 1, 2 or 4, not 3"),
        ("deft", {"decomposition": "svd"}, "decomposition is one of relu, qr, not 'svd'"),
        ("miss", {"form": "bone"}, "form is one of plain, bat, mini"),
        ("corda", {"mode": "x"}, "mode is one of ipm, kpm"),
    ],
)
def test_wrong_settings(name, hyper, line):
    with pytest.raises(LitmusError, match=line):
        make(name, **hyper)


def test_layers_that_a_tuner_cannot_wrap_are_refused():
    with pytest.raises(LitmusError, match="pissa wraps Linear, and conv_in is a Conv2d: narrow targets"):
        attach("pissa[targets=conv]")


def test_wrapped_layers_keep_the_mode_of_the_base():
    assert not any(layer.training for _, layer in wrapped(attach("pvera").denoiser))


def test_streams_inside_follow_rng_and_those_outside_stay():
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]

    def states():
        words: Any = np.random.get_state()
        return torch.get_rng_state().tolist(), words[1].tolist(), random.getstate()

    with drawn_from(rng("a")):
        first = draw()
    outside = states()
    with drawn_from(rng("a")):
        again = draw()
    assert again == first
    assert states() == outside
    with drawn_from(rng("b")):
        assert draw() != first


def test_largest_divisor():
    assert [divisor(7, 32, 48), divisor(0.4, 32), divisor(100, 24, 36), divisor(6, 7)] == [4, 1, 12, 1]


def test_frozen_parts_follow_the_projection_seed(place):
    for spec in ("vera", "randlora", "shira", "fourierft", "tinylora", "unilora", "waveft", "pvera"):
        outputs = []
        for seed in (1, 1, 2):
            net = attach(f"{spec}[projection_seed={seed}]")
            stream = rng("values")
            with torch.no_grad():
                for p in state(net).values():
                    p.copy_(0.1 * torch.randn(p.shape, generator=stream))
                outputs.append(place.run(net))
        assert outputs[0].equal(outputs[1]), spec
        assert not outputs[0].allclose(outputs[2], atol=1e-7, rtol=1e-5), spec


def test_pissa_and_olora_take_their_start_out_of_the_weight():
    for spec in ("pissa", "olora"):
        net, base = attach(spec), toy_network()
        for path, layer in wrapped(net.denoiser):
            whole = base.denoiser.get_submodule(path).weight
            rest = layer.get_base_layer().weight
            assert not rest.allclose(whole, atol=1e-3)
            torch.testing.assert_close(rest + layer.get_delta_weight(ADAPTER), whole, rtol=1e-4, atol=1e-5)


def test_lily_shares_experts_between_layers_of_one_name_and_shape():
    layers = dict(wrapped(attach("lily").denoiser))
    experts = {path: layer.lily_B[ADAPTER].weight for path, layer in layers.items()}
    for a, ea in experts.items():
        for b, eb in experts.items():
            alike = a.split(".attn")[1][2:] == b.split(".attn")[1][2:]
            shapes = {tuple(layers[path].get_base_layer().weight.shape) for path in (a, b)}
            assert (ea is eb) == (alike and len(shapes) == 1), (a, b)


def test_pvera_draws_alike_within_a_step_and_anew_in_the_next():
    method = make("pvera")
    net = attached(method, toy_network(), rng("init")).train()
    with torch.no_grad():
        for p in state(net).values():
            p.add_(0.1)
        first, again = net(*INPUT), net(*INPUT)
        method.step(net, 0, 10)
        later = net(*INPUT)
        mean = net.eval()(*INPUT)
    assert first.equal(again)
    assert not later.allclose(first, atol=1e-6)
    assert not mean.allclose(first, atol=1e-6)


def test_osf_gradients_stay_away_from_the_larger_singular_vectors_in_a_copy_too(place):
    net = copy.deepcopy(attach("osf"))
    place.loss(net).backward()
    for _, layer in wrapped(net.denoiser):
        rank = layer.effective_rank[ADAPTER]
        u, _, vt = torch.linalg.svd(layer.get_base_layer().weight, full_matrices=False)
        theta = layer.osf_svd_params[ADAPTER]
        assert theta["U_low"].grad.abs().max() > 0
        assert (u[:, :rank].mT @ theta["U_low"].grad).abs().max() < 1e-5
        assert (theta["V_low"].grad @ vt[:rank].mT).abs().max() < 1e-5
