"""A package of somebody else's: built, installed beside Litmus, listed, examined and run.

It has a method of its own and, for every other kind of part, the files that docs/ shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.record import read_board

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "outside-gains"
version = "0.1"

[project.entry-points."litmus.methods"]
gains = "outside_gains:Gains"

{entries}
[tool.setuptools]
py-modules = {modules}
"""
# Page -> group of the entry points of the parts that it shows; docs/adding-a-base.md shows a family too.
PAGES = {
    "adding-a-metric": "litmus.metrics",
    "adding-an-objective": "litmus.objectives",
    "adding-a-task": "litmus.tasks",
    "adding-a-base": "litmus.bases",
    "encoders": "litmus.extractors",
}

METHOD = '''
"""Gains: scale what each attention gives back, by one trained vector per layer."""

from dataclasses import dataclass
from types import MethodType

import torch
from torch import nn

from bench.method import Method, register
from bench.sites import sites


@register
@dataclass(frozen=True)
class Gains(Method):
    """Train a gain g (C,) on the output of each attention, 1 at the start."""

    name = "gains"
    paper = "none: a test"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    formula = "y = g * (W x + b)"

    def attach(self, net, rng):
        for layer in sites(net, "attn.to_out").values():
            layer.register_parameter("gain", nn.Parameter(torch.ones_like(layer.weight[:, 0])))
            layer.forward = MethodType(scaled, layer)

    def count(self, net):
        return sum(len(layer.weight) for layer in sites(net, "attn.to_out").values())

    @torch.no_grad()
    def merge(self, net):
        for layer in sites(net, "attn.to_out").values():
            layer.weight *= layer.gain[:, None]
            layer.bias *= layer.gain
            del layer.gain, layer.forward


def scaled(layer, x):
    y = type(layer).forward(layer, x)
    return y * layer.gain.to(y.dtype)
'''


def shown() -> dict[str, tuple[str, str, str]]:
    """Name -> (group, class, source) of every part that the pages show as a file."""
    found = {}
    for page, group in PAGES.items():
        for block in re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text("utf-8"), re.DOTALL):
            if decorated := re.search(r"^@(\w*)\.?register\n(?:@.*\n)*class (\w+)", block, re.MULTILINE):
                (name,) = re.findall(r'^    name = "([\w-]+)"', block, re.MULTILINE)
                where = "litmus.families" if decorated[1] == "FAMILIES" else group
                found[name] = where, decorated[2], block
    return found


PARTS = shown()


def call(*words: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, timeout=900, **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the built package is installed in."""
    place = tmp_path_factory.mktemp("outside")
    source = place / "source"
    source.mkdir()
    modules = {name: f"outside_{name.replace('-', '_')}" for name in PARTS}
    for name, (_, _, text) in PARTS.items():
        (source / f"{modules[name]}.py").write_text(text, encoding="utf-8")
    (source / "outside_gains.py").write_text(METHOD, encoding="utf-8")
    entries = "".join(
        f'[project.entry-points."{group}"]\n'
        + "".join(f'"{n}" = "{modules[n]}:{cls}"\n' for n, (where, cls, _) in PARTS.items() if where == group)
        for group in sorted({where for where, _, _ in PARTS.values()})
    )
    project = PROJECT.format(entries=entries, modules=json.dumps(["outside_gains", *modules.values()]))
    (source / "pyproject.toml").write_text(project, encoding="utf-8")
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    built = call("pip", "wheel", *options, "--no-build-isolation", "--wheel-dir", place / "dist", source)
    assert built.returncode == 0, built.stderr
    (wheel,) = (place / "dist").glob("*.whl")
    put = call("pip", "install", *options, "--target", place / "site", wheel)
    assert put.returncode == 0, put.stderr
    return place / "site"


@pytest.fixture
def litmus(site):
    """A function: litmus("methods") in a process of its own, with the package installed and this clone untouched."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "COLUMNS": "200"}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return call("bench", *words, env=env)

    return run


def test_it_is_listed_and_examined(litmus):
    listed = litmus("methods")
    assert [line for line in listed.stdout.splitlines() if line.startswith("gains ")], listed.stderr
    shown = litmus("methods", "gains")
    assert "y = g * (W x + b)" in shown.stdout
    examined = litmus("check-method", "gains")
    assert examined.returncode == 0, examined.stdout
    assert "packs" in examined.stdout


LIST = """
import importlib, json
for module in ("metrics", "objectives", "tasks", "bases", "network.family", "extractors", "method"):
    importlib.import_module(f"bench.{module}")
from bench.plugin.registry import REGISTRIES
for registry in REGISTRIES:
    registry.load()
print(json.dumps({r.group: {name: cls.__module__ for name, cls in r.items()} for r in REGISTRIES}))
"""


def test_every_kind_of_part_is_found_by_its_entry_point(site):
    assert {group for group, _, _ in PARTS.values()} == {*PAGES.values(), "litmus.families"}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, timeout=900, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {*PAGES.values(), "litmus.families", "litmus.methods"}
    for name, (group, _, _) in PARTS.items():
        assert found[group][name] == f"outside_{name.replace('-', '_')}"


@pytest.mark.parametrize(
    ("command", "name"),
    [("metrics", "precision"), ("objectives", "huber"), ("bases", "dots"), ("extractors", "thumbs")],
)
def test_they_are_listed(litmus, command, name):
    listed = litmus(command)
    assert re.search(rf"^\W*{name}\b", listed.stdout, re.MULTILINE), listed.stdout + listed.stderr


def test_it_runs_the_smoke_protocol(litmus, site, task_folder, litmus_home, tmp_path):
    import shutil

    shutil.copytree(task_folder("subject", "subject-a"), litmus_home / "datasets/toy/subject-a")
    text = (ROOT / "bench/protocol/smoke.toml").read_text(encoding="utf-8")
    for old, new in (
        ('base = "pocket"', 'base = "toy"'),
        ('extractors = "pocket"', 'extractors = "toy"'),
        ("pocket/subject-robot", "toy/subject-a"),
        ('spec = "lora"', 'spec = "gains"'),
    ):
        assert old in text
        text = text.replace(old, new)
    protocol = tmp_path / "smoke-toy.toml"
    protocol.write_text(text, encoding="utf-8")
    done = litmus("bench", protocol, "--results", tmp_path / "board", "-j", "1")
    assert done.returncode == 0, done.stderr
    records, faults = read_board(tmp_path / "board")
    assert not faults
    mine = [r for r in records if r.run.method == "gains"]
    assert [(r.status, r.run.seed) for r in sorted(mine, key=lambda r: r.run.seed)] == [("ok", 0), ("ok", 1)]
    assert all(r.run.source for r in mine), "the file of a plug-in is part of what a record stands for"
    assert "gains" in (tmp_path / "board" / "table.md").read_text(encoding="utf-8")
