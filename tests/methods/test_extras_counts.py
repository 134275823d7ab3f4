"""Counts of the adapters beside single layers, of scales and of the text side, on Stable Diffusion 1.5.

Sum of the widths C over its 16 blocks: 12,480. A bottleneck of width m at each block has 24,976 m + 12,480 scalars.
"""

from __future__ import annotations

import pytest

from bench.method import LitmusError, figures, fit_budget, make, parse_spec

BLOCKS, WIDTHS, AFFINE = 16, 12_480, 200_320  # AFFINE: weights and biases of all norms
PUBLISHED = {
    "norm": AFFINE,  # 100,160 weights and as many biases
    "customdiffusion": 19_169_280,
    "scale_bias[targets=attn,norms=false]": 199_680,
    "difffit[depth=16]": 481_284,
}


def bottleneck(m: int) -> int:
    return 2 * WIDTHS * m + BLOCKS * m + WIDTHS


BY_HAND = {
    "series_adapter": 3 * bottleneck(32),
    "series_adapter[placement=pfeiffer,width=60]": 1_511_040,  # one a block, as the adapter of "A Closer Look"
    "parallel_adapter[width=60]": 1_511_040,
    "parallel_adapter[place=attn]": 2 * bottleneck(32),
    "parallel_adapter[place=both]": 3 * bottleneck(32),
    "scaled_parallel_adapter[width=256]": 6_406_336,
    "mam": bottleneck(16) + 2 * 2 * 16 * WIDTHS,
    "mam[width=512,length=30]": bottleneck(512) + 2 * 2 * 30 * WIDTHS,  # the paper's main setting
    "mam[width=40]": bottleneck(40) + 2 * 2 * 16 * WIDTHS,
    "mam[width=4]": bottleneck(4) + 2 * 2 * 4 * WIDTHS,
    "mam[attn=parallel]": bottleneck(16) + 2 * bottleneck(16),
    "scale_bias[bias=false,targets=attn]": 99_840 + AFFINE,
    # 128 + 16 (C -> 8 C) + 16 (4 C -> C) layers
    "scale_bias": 199_680 + 2 * 9 * WIDTHS + AFFINE,
    "difffit[depth=1]": 443_844 + 3 * 320,
    "difffit[depth=6]": 443_844 + 3 * 2 * (320 + 640 + 1280),
    # the seventh is the middle one, then come three of 1280 on the way up before the first of 640
    "difffit[depth=10]": 443_844 + 3 * (2 * (320 + 640 + 1280) + 4 * 1280),
    "difffit[depth=1,attention_scales=true]": 443_844 + 3 * 320 + 8 * 320,
    "uniadapter": WIDTHS * 32 + BLOCKS * 32 + 3 * (32 * WIDTHS + WIDTHS),
    "vlpet": 3 * 2 * bottleneck(16),
    "vlpet[width=8,gate_width=24]": 3 * (bottleneck(8) + bottleneck(24)),
    "vlpet[gate=middlex]": 3 * (bottleneck(16) + WIDTHS + BLOCKS),
    "vlpet[gate=middley]": 3 * (bottleneck(16) + WIDTHS),
    "vlpet[gate=small]": 3 * (bottleneck(16) + 2 * WIDTHS + BLOCKS),
}
ALL = PUBLISHED | BY_HAND


@pytest.mark.parametrize("spec", ALL)
def test_count(spec, sd15):
    name, hyper = parse_spec(spec)
    assert make(name, **hyper).count(sd15) == ALL[spec]


@pytest.mark.parametrize("spec", ["series_adapter", "mam", "scale_bias", "uniadapter", "vlpet", "difffit[depth=3]"])
def test_attach_makes_as_much_trainable_as_count_says(spec, sd15):
    name, hyper = parse_spec(spec)
    method = make(name, **hyper)
    assert figures(method, sd15).trainable == method.count(sd15)


SHARES = [0.0005, 0.002, 0.0075, 0.03]
TOO_COARSE = {  # one unit of width at every sub-layer is a sizeable part of the smallest budget
    ("series_adapter", 0.0005): -0.041,
    ("mam", 0.0005): 0.075,
    ("vlpet", 0.0005): -0.128,
}


@pytest.mark.parametrize(
    "name", ["series_adapter", "parallel_adapter", "scaled_parallel_adapter", "mam", "uniadapter", "vlpet"]
)
@pytest.mark.parametrize("share", SHARES)
def test_budgets_are_met_within_two_percent_or_the_nearest_is_known(name, share, sd15):
    wanted = round(share * 859_520_964)
    off = fit_budget(make(name), sd15, wanted).count(sd15) / wanted - 1
    if (name, share) in TOO_COARSE:
        assert off == pytest.approx(TOO_COARSE[name, share], abs=0.0006)
    else:
        assert abs(off) <= 0.02


@pytest.fixture(scope="module")
def with_clip(sd15):
    """SD 1.5 with its text side, CLIP ViT-L/14, in shapes."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    from bench.method import Network

    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    return Network(sd15.denoiser, text)


@pytest.mark.parametrize(
    ("spec", "scalars"),
    [
        ("textual_inversion", 768),
        ("cones", 59_136),  # 77 x 768
        ("cones[positions=trigger]", 768),
        ("customdiffusion[token=true]", 19_169_280 + 768),
    ],
)
def test_count_on_the_text_side(spec, scalars, with_clip):
    name, hyper = parse_spec(spec)
    method = make(name, **hyper)
    assert method.count(with_clip) == scalars == figures(method, with_clip).trainable


@pytest.mark.parametrize("spec", ["textual_inversion", "cones", "customdiffusion[token=true]"])
def test_a_network_without_text_is_refused(spec, sd15):
    name, hyper = parse_spec(spec)
    for call in (lambda m: m.count(sd15), lambda m: m.attach(sd15, None)):
        with pytest.raises(LitmusError, match="trains the text side, and this network has none"):
            call(make(name, **hyper))
