"""Protocols: what is read, what is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.core import paths
from bench.core.errors import LitmusError, nearest
from bench.protocol.models import load_protocol, make_protocol, protocol_names

GOOD = {"name": "x", "tasks": ["a/b"], "methods": [{"spec": "lora"}]}


def refused(**changes) -> str:
    with pytest.raises(LitmusError) as caught:
        make_protocol(GOOD | changes, "x.toml")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("x.toml: ")
    return line


def test_a_protocol_keeps_what_it_says_and_fills_the_rest():
    p = make_protocol(GOOD | {"train": {"steps": 7}, "seeds": [3, 4]})
    assert (p.train.steps, p.train.batch, p.seeds, p.objective) == (7, 4, (3, 4), "plain")


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_of_the_package_reads(name):
    p = load_protocol(name)
    assert p.name == name
    assert p.title


WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NOUNS = ("method", "task", "subject", "style", "seed", "activation", "scale", "learning rate", "training step")
COUNTED = re.compile(rf"\b({'|'.join(WORDS)}|\d+)(?: [\w'.]+){{0,2}}? ({'|'.join(NOUNS)})s?\b")


def counts(p) -> dict[str, set[int]]:
    """How many there are of what a title may count."""
    names = p.tasks
    swept = [*(p.sweep.lrs.values() if p.sweep else [])]
    a = p.anova
    return {
        "method": {len(p.methods)},
        "task": {len(names)},
        "subject": {sum("style" not in name for name in names)},
        "style": {sum("/style" in name for name in names)},
        "seed": {len(p.seeds)},
        "activation": {len(a.activations)} if a else set(),
        "scale": {len(a.scales)} if a else set(),
        "learning rate": {len(lrs) for lrs in swept},
        "training step": {p.train.steps},
    }


@pytest.mark.parametrize("name", protocol_names())
def test_no_title_states_a_wrong_count(name):
    p = load_protocol(name)
    for number, noun in COUNTED.findall(p.title):
        stated = int(number) if number.isdigit() else 1 + WORDS.index(number)
        assert counts(p)[noun] == {stated}, f"{name}: {stated} {noun}"


def test_a_wrong_count_is_found():
    """Of the titles that this test reads, most state one: it would be blind else."""
    stating = [name for name in protocol_names() if COUNTED.search(load_protocol(name).title)]
    assert {"quick", "standard", "smoke", "tuning", "real", "anova", "zoo"} <= set(stating)
    found = COUNTED.findall("six methods on nine DreamBooth subjects, 24 test tasks and two learning rates")
    assert [(number, noun) for number, noun in found] == [
        ("six", "method"), ("nine", "subject"), ("24", "task"), ("two", "learning rate"),
    ]  # fmt: skip


def test_the_protocols_of_the_spec_are_there():
    assert {"smoke", "quick", "standard", "tuning"} <= set(protocol_names())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trian": {"steps": 3}}, ["'trian'", "did you mean 'train'"]),
        ({"train": {"stpes": 3}}, ["'stpes'", "did you mean 'steps'", "[train]"]),
        ({"methods": [{"spce": "lora"}]}, ["'spce'", "did you mean 'spec'", "[methods]"]),
        ({"methods": [{"spec": "lora", "lr": -1e-3}]}, ["lr", "greater than 0", "-0.001"]),
        ({"methods": [{"spec": "lora", "lr": 0}]}, ["lr", "greater than 0"]),
        ({"methods": [{"spec": "lora[rank"}]}, ["methods.0.spec", "lora[rank"]),
        ({"train": {"steps": 0}}, ["train.steps"]),
        ({"train": {"dtype": "fp64"}}, ["train.dtype", "fp32"]),
        ({"seeds": []}, ["seeds"]),
        ({"tasks": []}, ["tasks"]),
        ({"sweep": {"lrs": {"lora": [-1.0]}}}, ["sweep", "above 0"]),
        ({"name": "../up"}, ["name"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(changes, words):
    line = refused(**changes)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quikc", ["protocol 'quikc'", "did you mean 'quick'", "litmus protocols lists"]),
        ("no/such.toml", ["no/such.toml"]),
    ],
)
def test_a_protocol_that_is_not_there(name, words):
    with pytest.raises(LitmusError) as caught:
        load_protocol(name)
    assert all(word in str(caught.value) for word in words)


def test_a_protocol_that_is_not_toml(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_bytes(b"name = \xff")
    with pytest.raises(LitmusError, match="is not TOML"):
        load_protocol(path)


def test_nearest_names_the_nearest_and_the_listing():
    assert nearest("lroa", ["lora", "full"], "method") == (
        "unknown method 'lroa': did you mean 'lora'? (litmus methods lists them)"
    )
    assert nearest("zzz", ["lora", "full"], "base") == "unknown base 'zzz' (known: full, lora)"


def test_the_root_is_litmus_home_else_the_clone_else_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LITMUS_HOME", str(tmp_path))
    assert paths.results() == tmp_path / "results"
    monkeypatch.delenv("LITMUS_HOME")
    assert paths.root() == Path(paths.__file__).parents[2]
    monkeypatch.setattr(paths, "clone", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert paths.datasets() == tmp_path / "litmus" / "datasets"


def test_the_clone_is_not_just_any_project(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "bench" / "config.py"))
    assert paths.clone.__wrapped__() is None
