"""Every registered method, at its defaults and in the variants that take other paths, against every check."""

from __future__ import annotations

import pytest

from bench import checks
from bench.method import METHODS, load_plugins, make, parse_spec

load_plugins()
OWN = [name for name, cls in METHODS.items() if cls.__module__.startswith("methods.")]
VARIANTS = [
    "lora[rank=3,alpha=6.0,targets=attn2+ff+conv]",
    "difffit[attention_scales=true]",
    "adapter[init=paper,activation=silu,scale=2.0]",
    "adapter[source=resi,target=reso,width=4]",
]


def test_the_registry_holds_the_known_methods():
    assert {"adapter", "base", "bias", "difffit", "full", "lora"} <= set(OWN)


@pytest.fixture(scope="module")
def place():
    return checks.arena()


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("spec", [*OWN, *VARIANTS])
def test_contract(spec, check, place):
    name, hyper = parse_spec(spec)
    check(make(name, **hyper), place)


@pytest.mark.parametrize("name", OWN)
def test_file_and_class_say_the_same_name(name):
    assert METHODS[name].__module__ == f"methods.{name}"
    assert METHODS[name].__doc__, "the table's last column is the docstring's first line"
