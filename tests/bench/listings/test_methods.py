"""What is said of the methods agrees with what they do, and docs/methods.md with both."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from bench.listings import methods as zoo
from bench.method import METHODS, make

PAGE = Path(__file__).resolve().parents[3] / "docs" / "methods.md"


@pytest.mark.parametrize(
    ("name", "hyper", "sites", "kinds"),
    [
        ("lora", {}, ("attn1", "attn2"), ("linear",)),
        ("lora", {"targets": "attn2.to_v+ff"}, ("attn2", "ff"), ("linear",)),
        ("lora", {"targets": "conv"}, ("resnet", "other"), ("conv",)),
        ("adapter", {}, ("block",), ("block",)),
        ("adapter", {"source": "resi", "target": "reso"}, ("resnet",), ("block",)),
        ("bias", {}, ("attn1", "attn2", "ff", "resnet", "block", "other"), ("bias",)),
        ("full", {}, ("attn1", "attn2", "ff", "resnet", "block", "other"), ("linear", "conv", "norm", "bias")),
        ("base", {}, (), ()),
    ],
)
def test_where_a_method_trains_is_seen(name, hyper, sites, kinds):
    assert zoo.place_of(make(name, **hyper)) == zoo.Place(sites, kinds)


@pytest.mark.slow
def test_the_page_is_up_to_date():
    """After a change in methods/: litmus methods --write docs/methods.md"""
    there = PAGE.read_text(encoding="utf-8").partition(zoo.END)[0]
    assert there == zoo.page().partition(zoo.END)[0]


def test_the_page_tells_every_method(monkeypatch):
    monkeypatch.setattr(zoo, "builtin", lambda: {name: METHODS[name] for name in ("bias", "lora")})
    text = zoo.page()
    assert "| [lora](#lora) | yes | yes | yes | no | denoiser | attn1, attn2 | linear | rank |" in text
    assert re.search(r"^### bias\n\nBias\. .*Train every bias .*\n\nBitFit: .* \(arXiv:2106\.10199", text, re.MULTILINE)


def test_what_follows_the_page_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "builtin", lambda: {"bias": METHODS["bias"]})
    path = tmp_path / "methods.md"
    zoo.write(path)
    first = path.read_text()
    assert first.endswith(zoo.END + "\n")
    path.write_text(first.replace("Train every", "train nearly every") + "\n## Samples\n")
    zoo.write(path)
    assert path.read_text() == first + "\n## Samples\n"


def test_a_gallery_stands_between_the_page_and_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "builtin", lambda: {"bias": METHODS["bias"]})
    path = tmp_path / "methods.md"
    zoo.write(path)
    path.write_text(path.read_text() + "\n## By hand\n")
    for shown in ("| one |", "| two |", ""):
        zoo.write(path, shown)
        text = path.read_text()
        assert (
            text.index(zoo.END) < text.index(zoo.GALLERY) < text.index(zoo.GALLERY_END) < text.index("\n## By hand\n")
        )
        assert text.count(zoo.GALLERY) == text.count(zoo.GALLERY_END) == text.count("## By hand") == 1
    assert "| two |" in text  # what a write without a gallery leaves
    assert "| one |" not in text


def test_what_is_not_here_comes_with_its_reason(monkeypatch):
    family = ModuleType("methods.zzz")
    family.UNAVAILABLE = {"qalora": "it wants a quantised base"}  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "methods.zzz", family)
    monkeypatch.setattr(zoo, "builtin", lambda: {})
    assert zoo.unavailable()["qalora"] == "it wants a quantised base"
    assert "- **qalora**: it wants a quantised base" in zoo.page()


def test_settings_tell_default_range_and_size():
    header, body = zoo.settings(METHODS["lora"])
    assert header == ["setting", "default", "searched", ""]
    assert ["rank", "4", "1 to 64, log", "size"] in body
    assert ["alpha", "none", "", ""] in body
    assert body[0][:3] == ["lr", "0.002", "0.0001 to 0.01, log"]


def test_the_list_outlives_a_method_without_defaults(monkeypatch):
    class Broken(METHODS["lora"]):  # type: ignore[misc]
        """Half written."""

        def __init__(self):
            raise TypeError("missing 1 required argument: 'rank'")

    monkeypatch.setitem(METHODS, "broken", Broken)
    rows = {row[0]: row for row in zoo.listing()[1]}
    assert "cannot be made with its defaults" in rows["broken"][-1]
    assert rows["lora"][2:7] == ["rank", "yes", "yes", "yes", "denoiser"]
