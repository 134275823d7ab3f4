"""The published denoisers, in shapes: their totals, and counts published for them."""

from __future__ import annotations

import pytest

from bench.bases.architectures import ARCHITECTURES, LEADERBOARD_TARGETS, shape
from bench.core.errors import LitmusError
from bench.method import make
from bench.network.sites import sites

TOTALS = {
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "sd35-medium": 2_243_171_520,
    "sd35-large": 8_056_627_520,
    "pixart-sigma": 610_856_096,
    "flux1-dev": 11_901_408_320,
    "flux2-klein-4b": 3_875_544_576,
}


def scalars(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", TOTALS)
def test_the_configuration_gives_the_published_total(name):
    assert scalars(shape(name).denoiser) == TOTALS[name] == ARCHITECTURES[name].scalars


def test_the_pocket_base_is_the_one_with_weights():
    from bench.bases import load_base

    net = load_base("pocket").net
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in shape("pocket").state_dict().items()
    }


def test_text_sides():
    assert {name for name in ARCHITECTURES if shape(name).text is not None} == {"sd15", "sd21", "pocket"}
    text = shape("sd15").text
    assert text is not None
    assert scalars(text) == 123_060_480  # CLIP ViT-L/14's text model, as its card says


def test_it_has_no_storage_and_is_built_once():
    assert all(p.is_meta and not p.requires_grad for p in shape("sd35-medium").parameters())
    assert shape("sd15") is shape("sd15")


def test_an_unknown_base_gets_a_nearest_name():
    with pytest.raises(LitmusError, match="did you mean 'sdxl'"):
        shape("sdx")


@pytest.mark.parametrize(("rank", "count"), [(32, 38_338_560), (64, 76_677_120)])
def test_lora_on_the_leaderboard_s_targets(rank, count):
    net = shape("flux2-klein-4b")
    assert make("lora", rank=rank, targets=LEADERBOARD_TARGETS).count(net) == count


def test_a_layer_by_its_own_name():
    net = shape("flux2-klein-4b")
    assert len(sites(net, ".to_qkv_mlp_proj")) == 20
    assert len(sites(net, ".to_out.0")) == 5, "not the single blocks' to_out"
    assert len(sites(net, ".to_q+.to_k")) == 10
    assert sites(net, ".transformer_blocks.0.attn.to_q").keys() == {"denoiser.transformer_blocks.0.attn.to_q"}
    with pytest.raises(LitmusError, match=r"no module with role '.o_q'"):
        sites(net, ".o_q")
    with pytest.raises(LitmusError, match=r"no module with role '.norm_q'"):  # a norm is no Linear
        sites(net, ".norm_q")
