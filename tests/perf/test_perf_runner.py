"""How fast the runner is where it handles many runs: planning, writing and reading records, handing out."""

from __future__ import annotations

import pytest

from bench.protocol.models import make_protocol
from bench.records.record import Curve, Record, read_board, write
from bench.runner.plan import Catalogue, Competitor, Goal, TaskFacts, expand, key
from bench.runner.queue import Pace, Queue

pytestmark = pytest.mark.perf

TASKS = [f"a/task-{i}" for i in range(40)]
SPECS = [f"lora[rank={i}]" for i in range(1, 48)]
SEEDS = list(range(5))


@pytest.fixture(scope="module")
def plan():
    """A function that plans 10,000 runs: 47 methods, the floor and two ceilings, on 40 tasks with 5 seeds."""
    protocol = make_protocol({"name": "x", "tasks": TASKS, "seeds": SEEDS, "methods": [{"spec": s} for s in SPECS]})
    competitors = {s: Competitor(s, "lora", {"rank": i, "alpha": None}, 0.1) for i, s in enumerate(SPECS)}
    catalogue = Catalogue(competitors, {t: TaskFacts("d", True) for t in TASKS}, {"plain": Goal("plain")}, "b", "e")
    return lambda: expand(protocol, catalogue)


def test_planning_10000_runs(benchmark, plan):
    assert len(benchmark.pedantic(plan, warmup_rounds=1, rounds=5)) == 10_000
    assert benchmark.stats.stats.median < 2


def test_handing_out_10000_runs(benchmark, plan):
    runs = plan()

    def all_of_them() -> int:
        queue, last, n = Queue(runs, Pace([])), None, 0
        while one := queue.take(last):
            last, n = one[1].block, n + 1
        return n

    assert benchmark.pedantic(all_of_them, rounds=5) == 10_000


@pytest.fixture
def records(plan):
    curve = Curve(steps=[0, 75, 150], train=[0.1] * 3, heldout=[0.1] * 3, running=[0.123456789] * 150)
    scores: dict[str, float | None] = {f"metric_{i}": i / 7 for i in range(25)}
    some = list(plan().values())[:200]
    return [Record(key=key(run), run=run, status="ok", scores=scores, curve=curve) for run in some]


def test_writing_200_records(benchmark, records, tmp_path):
    benchmark.pedantic(lambda: [write(record, tmp_path / "runs") for record in records], rounds=5)


def test_reading_200_records(benchmark, records, tmp_path):
    for record in records:
        write(record, tmp_path / "runs")
    assert len(benchmark.pedantic(read_board, (tmp_path,), rounds=5)[0]) == 200
