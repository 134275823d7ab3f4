"""The search for a learning rate: where it looks next, and that a board follows it from its records alone."""

from __future__ import annotations

import math

import pytest

from bench.protocol.models import make_protocol
from bench.records.record import Record, write
from bench.runner import board
from bench.runner.plan import key
from bench.runner.rate_search import LIMIT, rate, reach


def searched(peak: float, centre: float = 1e-3):
    """Follow the search to its end on scores that fall off around `peak`; the rates that it tried."""
    scores: dict[float, float] = {}
    while new := [x for x in reach(centre, scores) if x not in scores]:
        scores |= {x: -abs(math.log10(x / peak)) for x in new}
    return scores


def test_rates_are_counted_1_3_10():
    assert [rate(0.002, k) for k in range(-3, 4)] == [6e-05, 0.0002, 0.0006, 0.002, 0.006, 0.02, 0.06]


@pytest.mark.parametrize("halves", range(-6, 7))
def test_a_single_peak_is_enclosed(halves):
    peak = rate(1e-3, halves) * 1.1
    scores = searched(peak)
    best = max(scores, key=lambda x: scores[x])
    assert abs(math.log10(best / peak)) < 0.55  # half a decade: finer than the noise of one task it need not be
    tried = sorted(scores)
    assert tried[0] < best < tried[-1] or len(tried) == LIMIT
    assert len(tried) == 4 or abs(halves) > 2


def test_the_search_ends():
    assert len(searched(1e9)) == len(searched(1e-12)) == LIMIT


def test_rates_that_all_teach_nothing_are_too_small():
    flat = dict.fromkeys(reach(1e-3, {}), 0.0)
    assert reach(1e-3, flat) == (1e-4, 1e-3, 1e-2, 3e-2)


def test_the_better_neighbour_says_on_which_side_to_close_in():
    assert reach(1e-3, {1e-4: 0.1, 1e-3: 0.5, 1e-2: 0.2}) == (1e-4, 1e-3, 3e-3, 1e-2)
    assert reach(1e-3, {1e-4: 0.2, 1e-3: 0.5, 1e-2: 0.1}) == (1e-4, 3e-4, 1e-3, 1e-2)


def test_one_without_a_score_is_waited_for():
    assert reach(1e-3, {1e-3: 1.0, 1e-2: 2.0}) == reach(1e-3, {}) == (1e-4, 1e-3, 1e-2)


@pytest.fixture
def answered(tmp_path, catalogue):
    """A function: answered(peak) -> rounds of a board whose runs are answered with made-up records, by lora's rates."""
    protocol = make_protocol({"name": "x", "tasks": ["a/one", "a/two"], "sweep": {"around": ["lora"]}})
    fixed = {"base": {"concept": 0.2, "text": 0.2}, "truth": {"concept": 0.8, "text": 0.3, "text_mismatch": 0.0}}

    def answer(run, peak) -> dict:
        if run.method != "lora":
            return {"status": "ok", "scores": fixed.get(run.method, {})}
        if run.lr > 0.2:
            return {"status": "diverged"}
        return {"status": "ok", "scores": {"concept": 0.7 - 0.1 * abs(math.log10(run.lr / peak)), "text": 0.25}}

    def rounds(peak):
        tried = []
        while (planned := board.plan(protocol, tmp_path, catalogue=catalogue(protocol))).todo:
            tried.append(sorted({run.lr for run in planned.plan.values() if run.lr}))
            assert len(planned.plan) == 2 * (3 + len(tried[-1]))  # base, truth and truth_raw in both blocks
            for run in planned.todo.values():
                write(Record(key=key(run), run=run, **answer(run, peak)), tmp_path / "runs")
        return tried

    return rounds


@pytest.mark.parametrize(
    ("peak", "then"),
    [
        (0.009, [[0.001, 0.003, 0.01, 0.1]]),
        (0.03, [[0.001, 0.01, 0.03, 0.1]]),
        (0.0003, [[0.0003, 0.001, 0.01, 0.1], [0.0001, 0.0003, 0.001, 0.01, 0.1]]),
        (1.0, [[0.001, 0.01, 0.1, 0.3]]),  # turns round where runs diverge
    ],
)
def test_a_board_follows_its_records(answered, peak, then):
    assert answered(peak) == [[0.001, 0.01, 0.1], *then]
    assert answered(peak) == []  # and from the records alone it knows that nothing is left
