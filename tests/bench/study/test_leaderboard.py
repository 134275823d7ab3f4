"""bench.study.leaderboard: order, ranks, flags, ratios and the seed spread."""

from __future__ import annotations

import math

import pytest

from bench.study.frame import tidy
from bench.study.leaderboard import boards, leaderboard, reference_row, seed_spread, speed_ratios


@pytest.fixture
def world(make, block):
    """Five tasks; full always above lora, lora above bias by a little noise; full misses nothing."""
    records = []
    for i, task in enumerate(f"pocket/subject-{c}" for c in "abcde"):
        records += block(task)
        for method, concept in (("full", 0.55), ("lora", 0.45), ("bias", 0.3)):
            records.append(make(method, task, concept=concept + 0.004 * i, text=0.3, cost={"seconds_step": 0.1}))
    return records


def row(board, name):
    return next(x for x in board.lines if x.row == name)


def test_order_ranks_and_letters(world):
    board = leaderboard(tidy(world).frame)
    assert [x.row for x in board.lines] == ["truth", "full", "lora", "bias", "base"]
    assert [x.rank for x in board.lines] == [None, (1, 1), (2, 2), (3, 3), None]
    assert row(board, "lora").ties == "b"
    assert row(board, "full").p_better < 0.05
    better = row(board, "full").better
    assert better is not None
    assert better.value == 1
    assert row(board, "lora").better is None
    assert "1 seed" in row(board, "lora").flags
    assert row(board, "base").flags == []


def test_a_row_that_misses_a_task_is_shown_and_not_ranked(world, make):
    extra = make("adapter", "pocket/subject-a", concept=0.59, text=0.3)
    board = leaderboard(tidy([*world, extra]).frame)
    line = row(board, "adapter")
    assert line.rank is None
    assert "1 of 5 tasks" in line.flags
    assert [x.row for x in board.lines].index("adapter") == 4  # after bias, in spite of its score
    assert "adapter" not in set(board.pairs["a"]) | set(board.pairs["b"])


def test_a_diverged_run_is_not_ranked_by_a_block_that_ranks_nobody(world, make):
    flat = "pocket/subject-f"
    world += [make("base", flat, concept=0.5, text=0.25), make("truth", flat, concept=0.4, text=0.3, text_mismatch=0.1)]
    world += [make(method, flat, concept=0.45, text=0.3) for method in ("full", "lora")]
    world.append(make("bias", flat, status="diverged"))
    board = leaderboard(tidy(world).frame)
    assert {x.row: x.rank for x in board.lines if x.trained} == {"full": (1, 1), "lora": (2, 2), "bias": (3, 3)}


def test_a_row_that_the_machine_ended_is_not_ranked(world, make):
    tasks = [r.run.task for r in world if r.run.method == "lora"]
    adapter = [make("adapter", task, concept=0.59, text=0.3) for task in tasks]
    adapter[0] = make("adapter", tasks[0], status="oom")
    board = leaderboard(tidy([*world, *adapter]).frame)
    line = row(board, "adapter")
    assert (line.rank, line.failed, line.get("headline").tasks) == (None, 1, 4)
    assert "out of memory 1/5" in line.flags
    assert row(board, "full").rank == (1, 1)


def test_no_rank_where_the_machine_left_one_row_whole(make, block):
    records = [r for task in ("pocket/subject-a", "pocket/subject-b") for r in block(task)]
    records += [
        make("lora", "pocket/subject-a", status="crashed"),
        make("lora", "pocket/subject-b", concept=0.5, text=0.3),
    ]
    records += [
        make("bias", "pocket/subject-a", concept=0.3, text=0.3),
        make("bias", "pocket/subject-b", status="diverged"),
    ]
    assert [x.rank for x in leaderboard(tidy(records).frame).lines] == [None] * 4


def test_failures_and_copies_are_flagged(world, make):
    extra = [make("adapter", r.run.task, concept=0.61, text=0.3) for r in world if r.run.method == "lora"]
    extra[0] = make("adapter", extra[0].run.task, status="diverged")
    line = row(leaderboard(tidy([*world, *extra]).frame), "adapter")
    assert line.failed == 1
    assert "diverged 1/5" in line.flags
    assert "copies 4/5" in line.flags


def test_one_task_says_what_it_cannot(world):
    board = leaderboard(tidy([r for r in world if r.run.task.endswith("a")]).frame)
    assert row(board, "full").rank == (1, 3)
    assert math.isnan(row(board, "full").get("headline").half)
    assert any("one task" in n for n in board.notes)


def test_without_truth_the_raw_concept_orders(world):
    board = leaderboard(tidy([r for r in world if r.run.method != "truth"]).frame)
    assert board.column == "concept"
    assert [x.row for x in board.lines] == ["full", "lora", "bias", "base"]
    assert "no headline" in board.notes[0]


def test_blocks_of_a_mixed_board(stored):
    found = boards(tidy(stored).frame)
    assert [b.kind for b in found] == ["subject", "style", "all"]
    assert [len(b.tasks) for b in found] == [4, 3, 7]


def test_one_kind_one_block(world):
    assert [b.kind for b in boards(tidy(world).frame)] == ["subject"]


def test_reference_row(make, block):
    frame = tidy([*block(), make("lora", spec="lora[rank=8]"), make("bias")]).frame
    assert reference_row(frame) == "lora[rank=8]"
    assert reference_row(frame[frame["method"] == "bias"]) == ""


def test_ratios_compare_only_inside_a_machine(make, block):
    def timed(method, seed, seconds, machine):
        return make(method, seed=seed, concept=0.4, text=0.2, machine=machine, cost={"seconds_step": seconds})

    records = [*block(), timed("lora", 0, 1.0, "slow"), timed("lora", 1, 0.1, "fast"), timed("full", 0, 2.0, "slow"),
               timed("full", 1, 0.2, "fast"), timed("bias", 1, 0.05, "fast")]  # fmt: skip
    frame = tidy(records).frame
    assert speed_ratios(frame, "lora") == pytest.approx({"lora": 1, "full": 2, "bias": 0.5})
    board = leaderboard(frame)
    assert math.isnan(row(board, "full").costs["seconds_step"])  # seconds of two machines never share a column
    assert any("2 machines" in n for n in board.notes)


def test_machines_are_told_by_hardware_and_not_by_workers(make, block):
    def timed(method, seed, seconds, **where):
        record = make(method, seed=seed, concept=0.4, text=0.2, cost={"seconds_step": seconds})
        machine = record.provenance.machine.model_copy(update=where)
        provenance = record.provenance.model_copy(update={"machine": machine})
        return record.model_copy(update={"provenance": provenance})

    def notes(**where) -> list[str]:
        records = [*block(seed=0), *block(seed=1), timed("lora", 0, 0.1), timed("full", 0, 0.2)]
        records += [timed("lora", 1, 0.3, **where), timed("full", 1, 0.6, **where)]
        board = leaderboard(tidy(records).frame)
        assert row(board, "full").costs["step_ratio"] == pytest.approx(2)
        return [note for note in board.notes if note.startswith("timed")]

    assert notes() == []
    (line,) = notes(workers=2)
    assert line.startswith("timed with 1 and 2 workers on one machine")
    assert line.endswith("within the same number of workers")
    (line,) = notes(workers=2, threads=8)
    assert "with 1 and 2 workers and with 1 and 8 threads" in line
    (line,) = notes(workers=2, cores=64)
    assert line.startswith("timed on 2 machines")


def test_share_of_the_denoiser(make, block):
    cost = {"scalars_trainable": 5, "scalars_denoiser": 1000}
    board = leaderboard(tidy([*block(), make("lora", concept=0.4, text=0.2, cost=cost)]).frame)
    assert row(board, "lora").costs["share"] == 0.005


def test_seed_spread_beside_lift(make, block):
    records = [r for s in (0, 1, 2) for r in (*block(seed=s), make("lora", seed=s, concept=0.4 + 0.1 * s, text=0.3))]
    (seen,) = seed_spread(tidy(records).frame, "lora")
    assert seen.seeds == 3
    assert seen.std == pytest.approx(0.1)
    assert seen.lift == pytest.approx(0.5 - 0.2)
    assert seed_spread(tidy(records[:3]).frame, "lora") == []
