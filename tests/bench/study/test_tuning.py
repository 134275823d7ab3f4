"""bench.study.tuning: the rule, its edges and what failures do to it."""

from __future__ import annotations

import math

import pytest

from bench.study.frame import tidy
from bench.study.tuning import choose, swept

TASKS = ("pocket/subject-a", "pocket/subject-b")


@pytest.fixture
def sweep(make, block):
    """A function: sweep({lr: concept or "diverged" or "oom"}, ...) -> choices of a frame over two tasks."""

    def build(rates, method="lora", drop=()):
        records = [r for t in TASKS for r in block(t)]
        for lr, value in rates.items():
            for t in TASKS:
                if (lr, t) in drop:
                    continue
                if isinstance(value, str):
                    records.append(make(method, t, lr=lr, status=value))
                else:
                    records.append(make(method, t, lr=lr, concept=value, text=0.3))
        return tidy(records).frame

    return build


def test_highest_mean_headline(sweep):
    (choice,) = choose(sweep({1e-4: 0.3, 1e-3: 0.5, 1e-2: 0.4}))
    assert choice.lr == 1e-3
    assert choice.edge == ""
    assert choice.best is not None
    assert choice.best.score.value == pytest.approx(0.75)
    assert [t.lr for t in choice.trials] == [1e-4, 1e-3, 1e-2]


@pytest.mark.parametrize(("rates", "edge"), [((0.5, 0.4, 0.3), "lowest"), ((0.3, 0.4, 0.5), "highest")])
def test_edge_is_flagged(sweep, rates, edge):
    (choice,) = choose(sweep(dict(zip((1e-4, 1e-3, 1e-2), rates, strict=True))))
    assert choice.edge == edge


def test_one_rate_is_flagged(sweep):
    assert choose(sweep({1e-3: 0.5}))[0].edge == "only"


def test_diverged_is_worst_even_where_others_lose(sweep):
    (choice,) = choose(sweep({1e-4: 0.21, 1e-3: "diverged"}))
    assert choice.lr == 1e-4
    assert [t.failed for t in choice.trials] == [0, 2]
    assert choice.trials[1].score.value == 0


def test_a_rate_that_the_machine_ended_is_neither_bad_nor_chosen(sweep):
    (choice,) = choose(sweep({1e-4: 0.21, 1e-3: "oom"}))
    assert choice.lr == 1e-4
    lost = choice.trials[1]
    assert (lost.failed, lost.lost, lost.complete, lost.note) == (0, 2, False, "2 ended by the machine")
    assert lost.score.value != lost.score.value


def test_a_rate_that_misses_a_block_is_never_chosen(sweep):
    (choice,) = choose(sweep({1e-4: 0.3, 1e-3: 0.5}, drop={(1e-3, TASKS[1])}))
    assert choice.lr == 1e-4
    assert [t.complete for t in choice.trials] == [True, False]


def test_of_equals_the_smaller(sweep):
    assert choose(sweep({1e-3: 0.4, 1e-2: 0.4}))[0].lr == 1e-3


def test_without_headline_nothing_is_chosen(make, block):
    frame = tidy([*block(truth=False), make("lora", concept=0.4, text=0.2)]).frame
    (choice,) = choose(frame)
    assert math.isnan(choice.lr)
    assert choice.best is None


def test_three_rates_make_a_sweep(sweep):
    assert swept(sweep({1e-4: 0.3, 1e-3: 0.5, 1e-2: 0.4}))
    assert not swept(sweep({1e-4: 0.3, 1e-3: 0.5}))
