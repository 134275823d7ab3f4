from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import LitmusError
from bench.plugin.spec import label, parse_spec


@pytest.mark.parametrize(
    ("spec", "name", "hyper"),
    [
        ("lora", "lora", {}),
        ("lora[]", "lora", {}),
        ("lora[rank=8]", "lora", {"rank": 8}),
        (" lora [ rank = 8 , alpha = 1.5 ] ", "lora", {"rank": 8, "alpha": 1.5}),
        ("adapter[source=attn2o,width=32]", "adapter", {"source": "attn2o", "width": 32}),
        ("x[a=true,b=False,c=none]", "x", {"a": True, "b": False, "c": None}),
        ("x[lr=1e-4,n=-3]", "x", {"lr": 1e-4, "n": -3}),
        ('x[a="8",b="p, q]",c=""]', "x", {"a": "8", "b": "p, q]", "c": ""}),
        ("lora[targets=attn+ff]", "lora", {"targets": "attn+ff"}),
        ("adapter[paper]", "adapter", {"preset": "paper"}),
        ("adapter[ paper , width=8]", "adapter", {"preset": "paper", "width": 8}),
    ],
)
def test_parse(spec, name, hyper):
    assert parse_spec(spec) == (name, hyper)
    assert {k: type(v) for k, v in parse_spec(spec)[1].items()} == {k: type(v) for k, v in hyper.items()}


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "lora[rank=8",
        "lora[8]",
        "lora[rank,8]",
        "lora[rank=]",
        "lora[rank=8 alpha]x",
        "lora[=8]",
        "[rank=8]",
        'x[a="b]',
    ],
)
def test_what_cannot_be_read(spec):
    with pytest.raises(LitmusError, match="cannot read"):
        parse_spec(spec)


def test_twice():
    with pytest.raises(LitmusError, match="rank is given twice"):
        parse_spec("lora[rank=8,rank=4]")


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)


@given(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.dictionaries(st.sampled_from("abcd"), VALUES))
def test_label_is_the_inverse(name, hyper):
    back_name, back = parse_spec(label(name, hyper))
    assert (back_name, back) == (name, hyper)
    assert [type(v) for v in back.values()] == [type(v) for v in hyper.values()]


def test_plain_values_read_as_people_write_them():
    assert label("lora", {"rank": 8, "alpha": None}) == "lora[rank=8,alpha=none]"
    assert label("adapter", {"source": "attn2o", "scale": 0.5, "x": True}) == "adapter[source=attn2o,scale=0.5,x=true]"


def test_a_preset_is_a_word_alone():
    assert label(*parse_spec("adapter[paper,width=8]")) == "adapter[paper,width=8]"
    assert label("adapter", {"preset": "paper"}) == "adapter[paper]"


def test_without_torch():
    code = "import sys, bench.plugin.spec as s; s.parse_spec('lora[rank=8]'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
