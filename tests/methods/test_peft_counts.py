"""Counts of peft's tuners against published ones: peft's own leaderboard on FLUX.2-klein-base-4B, and papers on SD 1.5.

The leaderboard's numbers and settings are those of the result files in huggingface/peft, method_comparison/image-gen.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.method import LitmusError, Network, fit_budget, make, parse_spec
from bench.network import sites
from bench.network.family import FAMILIES

NAMES = (
    *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    *("linear_in", "linear_out", "to_qkv_mlp_proj"),
)
KLEIN = {
    "lora[rank=32]": 38_338_560,
    "lora[rank=64]": 76_677_120,
    "rslora[rank=32]": 38_338_560,
    "dora[rank=64]": 77_568_000,
    "adalora[rank=32]": 38_341_120,
    "loha[rank=32]": 76_677_120,
    "lokr[rank=32,factor=-1]": 783_360,
    "gralora[rank=32]": 38_338_560,
    "glora[rank=32]": 76_677_120,
    "delora[rank=32]": 38_338_640,
    "deft[rank=32]": 38_338_560,
    "deft[rank=32,para=true]": 28_508_160,
    "peanut[rank=32]": 57_016_320,
    "lily[rank=32]": 14_554_112,
    "miss[rank=32]": 28_508_160,
    "oft[block=32]": 4_761_600,
    "boft": 2_119_680,
    "hra[rank=32]": 9_830_400,
    "road": 890_880,
    "psoft[rank=32]": 44_800,
    "vera[rank=32]": 893_440,
    "pvera[rank=32]": 896_000,
    "randlora[rank=32]": 23_838_720,
    "vblora[rank=32]": 38_404_096,
    "fourierft[frequencies=2000]": 160_000,
    "waveft[frequencies=2592]": 207_360,
    "c3a[divide=12]": 11_427_840,
    "shira[rank=32]": 38_338_560,
    "frod": 15_406_630,
    "ia3[inputs=attn+ff]": 307_200,
}


@pytest.fixture(scope="module")
def klein():
    from diffusers import Flux2Transformer2DModel

    with torch.device("meta"):
        denoiser = Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        )
    assert sum(p.numel() for p in denoiser.parameters()) == 3_875_544_576
    return Network(denoiser).requires_grad_(False)


@pytest.fixture
def board(klein, monkeypatch):
    """The network with the roles cut to the leaderboard's targets, which leave out the single blocks' last layer."""
    flux2 = FAMILIES["flux2"]
    roles = flux2.roles["Flux2SingleTransformerBlock"]
    cut = {role: paths for role, paths in roles.items() if role not in ("attn1.to_out", "ff.down")}
    monkeypatch.setitem(flux2.roles, "Flux2SingleTransformerBlock", cut)
    wanted = [k for k, _ in klein.denoiser.named_modules() if any(f".{k}".endswith(f".{name}") for name in NAMES)]
    assert list(sites.sites(klein.denoiser, "attn+ff")) == wanted
    assert len(wanted) == 80
    return klein


@pytest.mark.parametrize("spec", KLEIN)
def test_count_is_that_of_the_leaderboard(spec, board):
    name, hyper = parse_spec(spec)
    assert make(name, **hyper, targets="attn+ff").count(board) == KLEIN[spec]


def test_layer_norm_tuning_of_queries_and_keys(klein):
    """The leaderboard takes norm_q and norm_k; the text stream's norm_added_q and norm_added_k are norms as well."""
    method: Any = make("ln_tuning")
    norms = method.layers(klein)
    assert sum(method.cost(m) for k, m in norms.items() if k.endswith((".norm_q", ".norm_k"))) == 6_400
    assert method.count(klein) == 7_680


SD15 = {
    "randlora[rank=32]": 2_798_080,
    "randlora[rank=64]": 1_445_888,
    "adalora[rank=12]": 2_393_088,
    "miss[rank=16]": 1_597_440,  # Bone r = 16
    "miss[rank=64,form=bat]": 6_389_760,  # Bone r = 64
    "rslora": 797_184,
    "pissa[rank=8]": 1_594_368,
    "shira": 797_184,
}


@pytest.mark.parametrize("spec", SD15)
def test_count_on_stable_diffusion(spec, sd15):
    name, hyper = parse_spec(spec)
    assert make(name, **hyper).count(sd15) == SD15[spec]


def test_bases_set_randlora_s_rank_at_the_widest_layer(sd15):
    assert make("randlora", bases=40).count(sd15) == SD15["randlora[rank=32]"]  # 1280 / 40 = 32


@pytest.mark.parametrize("name", ["randlora", "c3a", "oft", "lokr"])
def test_budgets_are_met_by_sizes_that_are_not_ranks(name, sd15):
    wanted = round(0.002 * 859_520_964)
    assert fit_budget(make(name), sd15, wanted).count(sd15) == pytest.approx(wanted, rel=0.3)


def test_a_layer_that_a_tuner_cannot_wrap_is_named(sd15):
    with pytest.raises(LitmusError, match=r"vera wraps Linear, and .*conv.* is a \w*Conv\w*: narrow targets"):
        make("vera", targets="conv").count(sd15)
