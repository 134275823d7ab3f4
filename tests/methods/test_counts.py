"""Counts against the numbers of the papers and of their original code, on Stable Diffusion 1.5."""

from __future__ import annotations

import pytest

from bench.method import figures, fit_budget, make, parse_spec

SD15 = {
    "base": 0,
    "full": 859_520_964,
    "bias": 343_684,
    "difffit": 481_284,  # biases and norms 443,844, three gammas a block 37,440
    "difffit[attention_scales=true]": 581_124,  # and q, k, v, out 99,840
    "lora": 797_184,
    "lora[rank=8]": 1_594_368,
    "adapter[width=60]": 1_511_040,  # "1.5 M, 0.17 %"
    "adapter[width=256]": 6_406_336,  # "0.75 %"
    "adapter[source=attn2c,target=attn2c,width=60]": 1_487_808,
    "adapter[source=resi,target=resi,width=6]": 3_303_492,
    "adapter[source=resi,target=reso,width=7]": 3_224_794,
    "adapter[source=reso,target=reso,width=9]": 3_326_598,
}


@pytest.mark.parametrize("spec", SD15)
def test_count_is_the_published_one(spec, sd15):
    name, hyper = parse_spec(spec)
    assert make(name, **hyper).count(sd15) == SD15[spec]


@pytest.mark.parametrize(
    "spec", ["difffit[attention_scales=true]", "lora", "adapter", "adapter[source=reso,target=reso]"]
)
def test_attach_makes_as_much_trainable_as_count_says(spec, sd15):
    name, hyper = parse_spec(spec)
    method = make(name, **hyper)
    assert figures(method, sd15).trainable == method.count(sd15)


@pytest.mark.parametrize(("name", "size"), [("adapter", {"width": 34}), ("lora", {"rank": 4})])
def test_budget_of_a_tenth_of_a_percent(name, size, sd15):
    method = fit_budget(make(name), sd15, 859_521)
    assert {k: v for k, v in method.hyper().items() if k in size} == size
