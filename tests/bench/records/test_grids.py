"""Metrics of pictures for runs that are done: the same numbers as when the run itself was asked for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from bench import tasks
from bench.records import grids
from bench.records.record import read_board
from bench.records.rescore import rescore

NAMES = ["torchmetrics.TotalVariation", "torchmetrics.StructuralSimilarityIndexMeasure"]


@pytest.fixture
def board(toy_protocol, tmp_path):
    """A function: board("there", metrics) -> the folder of a toy board that asked for these metrics."""
    from bench.__main__ import app

    def run(name: str, metrics: list[str]):
        rules = toy_protocol(('extractors = "toy"', f'extractors = "toy"\nmetrics = {metrics}'))
        done = CliRunner().invoke(app, ["bench", str(rules), "--results", str(tmp_path / name), "-j", "1"])
        assert done.exit_code == 0, done.output
        return tmp_path / name

    return run


@pytest.mark.slow
def test_a_finished_board_gets_the_numbers_that_it_would_have_had(board, monkeypatch):
    from bench.__main__ import app

    asked, later = board("asked", NAMES), board("later", [])
    before = {r.key: r for r in read_board(later)[0]}
    assert not any(name in r.scores for r in before.values() for name in NAMES)
    with monkeypatch.context() as patch:  # what does not fit is a line, and nothing is written
        own = tasks.load
        patch.setattr(tasks, "load", lambda name: replace(own(name), class_word="another"))
        grids._task.cache_clear()
        found = rescore(later, NAMES)
        assert (found.changed, len(found.faults)) == (0, found.runs)
        assert all("is another now than when" in line for line in found.faults)
        assert {r.key: r for r in read_board(later)[0]} == before
    grids._task.cache_clear()
    done = CliRunner().invoke(app, ["rescore", str(later), *(x for name in NAMES for x in ("--metric", name))])
    assert done.exit_code == 0, done.output
    assert f"computed {NAMES[0]} for" in done.output
    wanted = {r.key: r for r in read_board(asked)[0]}
    after = {r.key: r for r in read_board(later)[0]}
    assert wanted.keys() == after.keys()
    for key, record in after.items():
        assert record.scores == pytest.approx(wanted[key].scores, rel=1e-6)  # sums of many pixels
        assert {name: record.metrics.get(name) for name in NAMES} == {
            name: wanted[key].metrics.get(name) for name in NAMES
        }
    assert NAMES[0] in next(iter(after.values())).scores
    assert rescore(later, [NAMES[0]]).changed == 0
