"""Counts of the methods that change weights, against published ones and by hand, on Stable Diffusion 1.5."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.method import Network, figures, fit_budget, make, parse_spec, used
from bench.method.reparam import LowRank, Reparam

# Attention: 16 blocks of widths 320 x 5, 640 x 5, 1280 x 6, together 12,480; per block six layers d x d, two d x 768.
SD15 = {
    "diffusekrona": 248_176,  # a1 = 64, a2 = 8
    "diffusekrona[terms=3]": 744_528,
    "svfit": 93_696,
    "svfit[rank=64]": 8_192,
    "bone": 1_597_440,  # r = 16
    "bone[rank=64]": 6_389_760,
    "bone[form=plain]": 1_597_440,
    "hydra": 797_952,  # r = 2
    "hydra[rank=4]": 1_595_904,
    "hydra[rank=4,branch=parallel]": 797_184,  # is LoRA r = 4
    "petalface": 1_594_368,  # two pairs of rank 4
    "dylora": 1_594_368,  # rank 8
    "dsee": 3_196_928,  # LoRA r = 16: 3,188,736, and 128 layers of 64 entries
    "increlora": 1_595_392,  # room for 8 ranks in each: AdaLoRA's r (o + i + 1) with r = 8
    "triadaptlora": 1_603_584,  # the factors of LoRA r = 8, and 8 x 9 in each of 128 layers
    "mosa": 1_610_944,  # 16 adapters of width 64: 2 x 64 x 12,480 + 16 x 64 + 12,480
    "blora[rank=4]": 155_648,  # two stages of one block of width 1280
    "blora[rank=4,part=style]": 77_824,
    "lora_norm": 997_504,  # LoRA 797,184, norms 200,320: twice DiffFit less BitFit, 443,844 - 343,684
    "svdiff": 222_805,  # one for each singular value of 184 Linear and 98 Conv2d, and 109 norms
}


@pytest.mark.parametrize("spec", SD15)
def test_count_is_the_published_one_or_the_one_by_hand(spec, sd15):
    name, hyper = parse_spec(spec)
    assert make(name, **hyper).count(sd15) == SD15[spec]


@pytest.mark.parametrize("spec", ["diffusekrona", "svfit", "svdiff", "dsee", "mosa", "petalface", "triadaptlora"])
def test_attach_makes_as_much_trainable_as_count_says_and_decomposes_nothing(spec, sd15, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a decomposition, of shapes alone")

    monkeypatch.setattr(torch.linalg, "svd", refuse)
    method = make(spec)
    assert figures(method, sd15).trainable == method.count(sd15)


def test_frozen_vectors_of_a_decomposition_are_counted_as_buffers(sd15):
    """SVFit keeps U_r and V_r of each layer: r (o + i), as much as a LoRA of that rank."""
    assert figures(make("svfit", rank=8), sd15).buffers == 1_594_368


@pytest.fixture(scope="module")
def sdxl():
    from diffusers import UNet2DConditionModel

    per_block: Any = {"transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20)}
    with torch.device("meta"):
        denoiser = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            **per_block,
        )
    return Network(denoiser).requires_grad_(False)


def test_blora_takes_the_paper_s_two_stages_of_sdxl(sdxl):
    assert sum(p.numel() for p in sdxl.parameters()) == 2_567_463_684
    for part, stage in (("content", 0), ("style", 1)):
        places = make("blora", part=part).layers(sdxl)  # type: ignore[attr-defined]
        assert all(path.startswith(f"denoiser.up_blocks.0.attentions.{stage}.") for path in places)
        assert len(places) == 80  # 10 blocks of 8 layers
    # r = 64; per block six layers 1280 x 1280 and two 1280 x 2048
    assert make("blora").count(sdxl) == 20 * 64 * (6 * 2560 + 2 * 3328)


@pytest.mark.parametrize("name", ["bone", "hydra", "petalface", "dylora", "dsee", "blora", "mosa", "triadaptlora"])
def test_a_budget_is_met(name, sd15):
    """0.2 % of the denoiser within what one more unit of the size costs."""
    wanted = 1_719_042
    fitted = fit_budget(make(name), sd15, wanted)
    field = fitted.size_field
    assert field
    size = getattr(fitted, field)
    near = [used(replace(fitted, **{field: s}), sd15) for s in (max(1, size - 1), size, size + 1)]
    assert abs(used(fitted, sd15) - wanted) == min(abs(n - wanted) for n in near)


@pytest.mark.parametrize("module", [Reparam, LowRank])
def test_the_family_itself_is_no_competitor(module):
    from bench.method import METHODS

    assert module not in METHODS.values()
