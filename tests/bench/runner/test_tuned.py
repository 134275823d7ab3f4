"""bench.runner.tuned: which rates `litmus run` takes from sweeps, and what it says of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.protocol.models import load_protocol, make_protocol
from bench.records.about import remember
from bench.records.record import read_stored, write
from bench.runner.board import plan
from bench.runner.plan import Catalogue, TaskFacts, specs
from bench.runner.resolve import competitor, goal
from bench.runner.single import protocol

RESULTS = Path(__file__).parents[3] / "results"


def rules(*methods, **options):
    return protocol("mine", ["pocket/subject-mug"], list(methods), "0", **options)


def named(p) -> Catalogue:
    """What a protocol names: the methods as they are, and a task that is not looked at."""
    competitors = {spec: competitor(spec) for spec in specs(p)}
    return Catalogue(
        competitors, {name: TaskFacts("d", True) for name in p.tasks}, {p.objective: goal(p.objective)}, "b", "e"
    )


@pytest.fixture
def tuned(monkeypatch, tmp_path):
    """A function: tuned("lora", lr=...) -> ({spec: rates}, notes) of a plan, with the published sweeps at hand."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("tuning", "zoo-tuning"):
        (home / name).symlink_to(RESULTS / name)
    monkeypatch.setattr("bench.runner.tuned.results", lambda: home)

    def go(*methods, **options):
        p = rules(*methods, **options)
        it = plan(p, tmp_path / "board", catalogue=named(p), tuned=True)
        found: dict[str, set] = {}
        for run in it.plan.values():
            if run.train:
                found.setdefault(run.spec, set()).add(run.lr)
        return found, "\n".join(it.notes)

    go.home = home  # type: ignore[attr-defined]
    return go


def test_the_boards_rates_are_those_of_the_sweeps(tuned):
    listed = {row.spec: row.lr for name in ("quick", "zoo") for row in load_protocol(name).methods}
    specs = [spec for spec in listed if spec != "truth"]
    found, notes = tuned(*specs)
    assert {spec: rates for spec, rates in found.items() if rates != {listed[spec]}} == {}
    assert "untuned" not in notes


def test_where_a_rate_comes_from_is_said_and_what_is_untuned(tuned):
    found, notes = tuned("bias", "lora[rank=8]")
    assert found["bias"] == {0.1}
    assert "tuned learning rates: bias 0.1 (results/tuning, 4 tuning tasks, 120 steps of 4)" in notes
    assert found["lora[rank=8]"] == {0.002}  # the method's own
    assert "untuned learning rates, the methods' own: lora[rank=8] 0.002: no sweep" in notes


def test_a_given_rate_wins(tuned):
    found, notes = tuned("bias", "lora[lr=0.5]", lr=0.25)
    assert found == {"bias": {0.25}, "lora": {0.5}}
    assert notes == ""
    assert tuned("bias[lr=0.5]", "bias[lr=0.25]")[0] == {"bias": {0.5, 0.25}}


def test_no_sweep_no_rate(tuned):
    for link in tuned.home.iterdir():
        link.unlink()
    found, notes = tuned("bias")
    assert found == {"bias": {0.003}}
    assert "untuned learning rates, the methods' own: bias 0.003" in notes
    # a board of one's own is a sweep only if its protocol is one, and only on the same base
    shutil.copytree(RESULTS / "tuning", tuned.home / "mine", ignore=shutil.ignore_patterns("*.png"))
    assert tuned("bias")[0] == {"bias": {0.003}}
    sweep = {"name": "mine", "tasks": ["a/b"], "sweep": {"lrs": {"bias": [0.1]}}}
    remember(tuned.home / "mine", make_protocol(sweep))
    assert tuned("bias")[0] == {"bias": {0.1}}
    for record in read_stored(tuned.home / "mine").records.values():
        run = record.run.model_copy(update={"base": "elsewhere"})
        write(record.model_copy(update={"run": run}), tuned.home / "mine" / "runs")
    assert tuned("bias")[0] == {"bias": {0.003}}


def test_another_objective_than_the_sweeps_is_said(tuned):
    found, notes = tuned("lora", objective="prior")
    assert found == {"lora": {0.01}}
    assert "under the objective plain" in notes
