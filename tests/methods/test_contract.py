"""Every registered method, at its defaults and in the variants that take other paths, against every check."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

import methods
from bench.bases.toy_transformers import toy_transformer
from bench.checks import contract as checks
from bench.commands.shared import method_names
from bench.method import METHODS, LitmusError, load_plugins, make, parse_spec

load_plugins()
OWN = [name for name, cls in METHODS.items() if cls.__module__.startswith("methods.")]
VARIANTS = [
    "lora[rank=3,alpha=6.0,targets=attn2+ff+conv]",
    "difffit[attention_scales=true]",
    "adapter[init=paper,activation=silu,scale=2.0]",
    "adapter[source=resi,target=reso,width=4]",
]
HEAD = """
from bench.method import Method, register

@register
class One(Method):
    name, paper = {0!r}, "none"

"""
# Methods that have no place in a transformer of SD 3's kind, and the word of their own refusal that says why.
NOT_IN_SD3 = {"blora": "it is a method for U-Nets"}


def test_files_registry_and_completion_list_the_same_names(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **group: [])  # of whatever else is installed here
    files = [path.stem for path in Path(methods.__path__[0]).glob("*.py") if not path.stem.startswith("_")]
    assert sorted(files) == sorted(OWN) == method_names()


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("zzz", "", "methods/zzz.py registers no method:"),
        ("zzz", HEAD.format("other"), "methods/zzz.py registers other:"),
        ("zzz", HEAD.format("zzz") + HEAD.format("other"), "methods/zzz.py registers other, zzz:"),
        ("_zzz", HEAD.format("zzz"), "methods/_zzz.py registers zzz:"),
    ],
)
def test_a_file_that_does_not_register_its_own_name_is_refused(name, text, line, tmp_path, monkeypatch):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(methods, "__path__", [str(tmp_path)])
    try:
        with patch.dict(METHODS), pytest.raises(LitmusError, match=line):
            methods._load()
    finally:
        sys.modules.pop(f"methods.{name}", None)
        methods.__dict__.pop(name, None)


def test_a_file_that_registers_its_own_name_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "zzz.py").write_text(HEAD.format("zzz"))
    monkeypatch.setattr(methods, "__path__", [str(tmp_path)])
    try:
        with patch.dict(METHODS):
            methods._load()
            assert METHODS["zzz"].__module__ == "methods.zzz"
    finally:
        sys.modules.pop("methods.zzz", None)
        methods.__dict__.pop("zzz", None)


def test_the_registry_holds_the_known_methods():
    assert {"adapter", "base", "bias", "difffit", "full", "lora"} <= set(OWN)


@pytest.fixture(scope="module")
def places():
    """One arena per kind of network, shared by all methods."""
    return {
        "unet": checks.make_arena(),
        "text": checks.make_arena(text=True),
        "sd3": checks.make_arena(lambda: toy_transformer("sd3")),
    }


def failures(spec, place, which):
    name, hyper = parse_spec(spec)
    results = [checks.attempt(check, make(name, **hyper), place) for check in which]
    return [f"{result.name}: {result.message}" for result in results if not result.ok]


@pytest.mark.parametrize("spec", [*OWN, *VARIANTS])
def test_contract(spec, places):
    side = METHODS[parse_spec(spec)[0]].side
    assert failures(spec, places["unet" if side == "denoiser" else "text"], checks.ALL) == []


@pytest.mark.parametrize("spec", [name for name in OWN if METHODS[name].side == "denoiser"])
def test_contract_on_a_transformer(spec, places):
    refusal = checks.refusal(make(spec), places["sd3"].make)
    if spec in NOT_IN_SD3:
        assert NOT_IN_SD3[spec] in (refusal or "nothing refused")
        return
    assert refusal is None
    assert failures(spec, places["sd3"], checks.ELSEWHERE) == []


@pytest.mark.parametrize("name", OWN)
def test_file_and_class_say_the_same_name(name):
    cls = METHODS[name]
    assert cls.__module__ == f"methods.{name}"
    assert "__doc__" in vars(cls), "the table's last column is the docstring's first line"
    assert (inspect.getdoc(cls) or "").strip()
