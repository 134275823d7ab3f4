from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from bench.bases.toy import toy_network
from bench.method import LitmusError, attached, make, state
from bench.network.sites import sites


def attach(method, seed=0) -> Any:
    return attached(method, toy_network(), torch.Generator().manual_seed(seed))


def test_merge_adds_the_scaled_product():
    method = make("lora", rank=2, alpha=6.0)
    net = attach(method)
    path = next(iter(sites(toy_network(), "attn")))
    layer = net.get_submodule(path)
    before = layer.base_layer.weight.clone()
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight  # (r, in), (out, r)
    with torch.no_grad():
        b.normal_(generator=torch.Generator().manual_seed(1))
    expected = before + 6.0 / 2 * b @ a
    method.merge(net)
    torch.testing.assert_close(net.get_parameter(path + ".weight"), expected)


def test_a_is_within_the_bound_of_the_paper_s_code_and_fills_it():
    net = attach(make("lora", rank=16))
    a = net.get_submodule(next(iter(sites(toy_network(), "attn")))).lora_A["default"].weight
    bound = a.shape[1] ** -0.5  # kaiming_uniform_(a=sqrt(5))
    assert a.abs().max() <= bound
    assert a.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_targets_decide_what_is_wrapped():
    keys = state(attach(make("lora", targets="attn2.to_v")))
    assert keys
    assert all(".attn2.to_v." in key for key in keys)


def test_alpha_follows_the_rank():
    assert make("lora", rank=8) == make("lora", rank=8, alpha=None)
    scale = [next(m for m in attach(make("lora", rank=r)).modules() if hasattr(m, "scaling")).scaling for r in (2, 16)]
    assert scale[0] == scale[1] == {"default": 1.0}


def test_a_copy_merges_on_its_own():
    method = make("lora")
    net = attach(method)
    flat = copy.deepcopy(net)
    method.merge(flat)
    assert flat.state_dict().keys() == toy_network().state_dict().keys() != net.state_dict().keys()


def test_wrong_settings():
    with pytest.raises(LitmusError, match="rank is at least 1"):
        make("lora", rank=0)
    with pytest.raises(LitmusError, match=r"unknown role 'atn'.*'attn'"):
        attach(make("lora", targets="atn"))
