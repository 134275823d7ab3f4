"""The launcher: whatever becomes of a worker is a record, and what is lost is done again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bench.core.errors import LitmusError
from bench.core.files import DiskError
from bench.core.text import span
from bench.protocol.models import make_protocol
from bench.records.record import Record, read_stored, write
from bench.runner import board
from bench.runner.launch import Launcher, lock, missing
from bench.runner.plan import key
from bench.runner.progress import Lines, Live, Progress, cell
from bench.runner.queue import Pace, Queue


@pytest.fixture
def launch(actor, tmp_path):
    """A function: launch(runs, timeout=60, workers=2) -> {act: record}; the board is tmp_path/board."""

    def go(runs, timeout=60.0, workers=2, command=actor, retry_failed=False) -> dict[str, Record]:
        folder = tmp_path / "board"
        plan = {key(run): run for run in runs}
        todo, have = missing(plan, read_stored(folder), retry_failed)
        launcher = Launcher(
            todo, folder, Progress(len(plan), len(have)), timeout=timeout, workers=workers, command=command
        )
        launcher.run()
        assert not launcher.workers
        found = read_stored(folder)
        assert not found.faults
        return {f"{r.run.hyper['act']}/{r.run.seed}": r for r in found.records.values()}

    return go


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that init has not reaped yet has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(what, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_every_run_gets_its_record_though_the_workers_chatter(launch, make_run):
    records = launch([make_run("", seed) for seed in range(5)])
    assert {name: (r.status, r.scores["identity"]) for name, r in records.items()} == {
        f"/{seed}": ("ok", seed / 7) for seed in range(5)
    }


@pytest.mark.parametrize(
    ("act", "status", "words"),
    [
        ("kill", "crashed", "killed (signal 9)"),
        ("exit:3", "crashed", "ended by itself with code 3"),
        ("fail", "error", "ValueError: two lines"),
        ("refuse", "error", "one clear line"),
    ],
)
def test_a_failure_is_a_record_and_the_rest_goes_on(launch, make_run, act, status, words):
    records = launch([make_run(act), *(make_run("", seed) for seed in range(3))], workers=1)
    failed = records.pop(f"{act}/0")
    assert (failed.status, words in failed.error, "\n" in failed.error) == (status, True, False), failed.error
    assert failed.provenance.machine.cores >= 1
    assert [r.status for r in records.values()] == ["ok"] * 3


def test_a_run_that_hangs_is_ended(launch, make_run):
    records = launch([make_run("sleep:60"), make_run("", 1)], timeout=1.5, workers=1)
    assert records["sleep:60/0"].status == "timeout"
    assert "1.5 s" in records["sleep:60/0"].error
    assert records["/1"].status == "ok"


def test_errors_are_kept_until_they_are_asked_for_again(launch, make_run, monkeypatch, tmp_path):
    monkeypatch.setenv("ACTED", str(tmp_path / "acted"))

    def acted() -> int:
        return len((tmp_path / "acted").read_text().splitlines())

    runs = [make_run("fail"), make_run("", 1)]
    launch(runs)
    assert acted() == 2
    launch(runs)
    assert acted() == 2
    launch(runs, retry_failed=True)
    assert acted() == 3


@pytest.mark.parametrize(("act", "status"), [("kill", "crashed"), ("sleep:60", "timeout"), ("starve", "oom")])
def test_what_the_machine_ended_is_done_again_three_times_in_all(launch, make_run, monkeypatch, tmp_path, act, status):
    monkeypatch.setenv("ACTED", str(tmp_path / "acted"))
    runs = [make_run(act), make_run("", 1)]

    def again(**options) -> tuple[int, int]:
        """How often runs have been begun in all, and what the failed one's record says of it."""
        record = launch(runs, timeout=2.0, **options)[f"{act}/0"]
        assert record.status == status
        assert key(record.run) == record.key
        return len((tmp_path / "acted").read_text().splitlines()), record.attempts

    assert [again() for _ in range(4)] == [(2, 1), (3, 2), (4, 3), (4, 3)]
    assert again(retry_failed=True) == (5, 4)
    assert again() == (5, 4)


def test_a_record_from_before_attempts_were_counted_has_had_one(make_run, tmp_path):
    run = make_run()
    write(Record.model_validate({"key": key(run), "run": run, "status": "oom"}), tmp_path / "runs")
    path = tmp_path / "runs" / f"{key(run)}.json"
    table = json.loads(path.read_text())
    del table["attempts"]
    path.write_text(json.dumps(table))
    assert list(missing({key(run): run}, read_stored(tmp_path))[0]) == [key(run)]


def test_diverged_is_a_result_and_is_not_retried(make_run, tmp_path):
    run = make_run()
    for status, todo in (("diverged", 0), ("crashed", 1), ("oom", 1), ("timeout", 1), ("error", 1), ("ok", 0)):
        write(Record.model_validate({"key": key(run), "run": run, "status": status}), tmp_path / "runs")
        assert len(missing({key(run): run}, read_stored(tmp_path), retry_failed=True)[0]) == todo


NEWER = b'{"schema_version": 2, "key": "x", "verdict": {"of": "tomorrow"}}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"key": "\xff', "is not a record: .*; delete it, and"),
        (NEWER, "is a record of a newer litmus .*: update litmus"),
    ],
)
def test_what_cannot_be_read_is_never_written_over(make_run, actor, tmp_path, capsys, text, words):
    run, other = make_run(), make_run("", 1)
    path = tmp_path / "runs" / f"{key(run)}.json"
    path.parent.mkdir()
    path.write_bytes(text)
    plan = {key(one): one for one in (run, other)}
    for retry_failed in (False, True):
        stored = read_stored(tmp_path)
        todo, have = missing(plan, stored, retry_failed)
        assert key(run) not in todo
        protocol = make_protocol({"name": "x", "tasks": ["t"], "limits": {"workers": 1}})
        it = board.Board(protocol, tmp_path, plan, todo, have, stored=stored)
        assert ("1 that cannot be read" in it.headline(), len(it.unread)) == (True, 1)
        assert re.search(words, it.unread[0])
        records = board.run(it, lambda line: None, actor)
        assert list(records) == [key(other)]
        assert path.read_bytes() == text
    if text != NEWER:
        path.unlink()
        assert key(run) in missing(plan, read_stored(tmp_path))[0]
    else:
        assert "delete" not in it.unread[0]


def test_workers_that_cannot_start_say_why(launch, make_run):
    with pytest.raises(LitmusError, match="workers do not start: .*no_such_name"):
        launch([make_run()], command=(sys.executable, "-c", "no_such_name"))


def test_a_full_disk_stops_everything_with_one_line(launch, make_run, small_disk, tmp_path):
    (tmp_path / "board").symlink_to(small_disk)
    runs = [make_run("", seed) for seed in range(3)] + [make_run("write:1000000", 5)]
    with pytest.raises(DiskError, match="no space left on the device of"):
        launch(runs, workers=1)
    found = read_stored(tmp_path / "board")
    assert not found.faults
    assert all(r.ok for r in found.records.values())
    assert not list(small_disk.glob("runs/.*"))


def test_two_runners_do_not_share_a_board(tmp_path):
    with lock(tmp_path), pytest.raises(LitmusError, match=rf"process {os.getpid()}\) works on"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


# --- a parent that is stopped or killed: in a process of its own --------------------------------------------------

PARENT = """
import json, sys
from pathlib import Path
from bench.core.errors import LitmusError
from bench.protocol.models import make_protocol
from bench.records.record import Run, read_stored
from bench.runner import board
from bench.runner.plan import key
runs = [Run.model_validate(r) for r in json.loads(sys.argv[1])]
plan = {key(r): r for r in runs}
folder = Path(sys.argv[2])
todo, have = board.missing(plan, read_stored(folder))
it = board.Board(make_protocol({"name": "x", "tasks": ["t"], "limits": {"workers": 2}}), folder, plan, todo, have)
try:
    board.run(it, print, tuple(sys.argv[3:]))
except LitmusError as error:
    sys.exit(str(error))
assert "torch" not in sys.modules
"""


@pytest.fixture
def parent(actor, tmp_path):
    """A function: parent(runs) -> the process of a runner, once `started` workers have begun a run."""
    begun = []

    def go(runs) -> subprocess.Popen[str]:
        table = json.dumps([run.model_dump(mode="json") for run in runs])
        command = [sys.executable, "-c", PARENT, table, str(tmp_path / "board"), *actor]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        begun.append(process)
        return process

    yield go
    for process in begun:
        with contextlib.suppress(OSError):
            process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "deaf"])
def test_a_runner_that_is_stopped_leaves_no_worker_and_goes_on_where_it_was(
    parent, launch, make_run, monkeypatch, tmp_path, how
):
    acted = tmp_path / "acted"
    monkeypatch.setenv("ACTED", str(acted))
    if how == "deaf":  # the workers have nothing but the closed pipe to go by
        monkeypatch.setenv("DEAF", "1")
        how = signal.SIGKILL
    quick = [make_run("", seed, task="a") for seed in range(3)]
    slow = [make_run("sleep:300", seed, task="b") for seed in range(2)]
    process = parent(quick + slow)
    wait_for(lambda: acted.exists() and acted.read_text().count("sleep") == 2)
    workers = {int(line.split()[0]) for line in acted.read_text().splitlines()}
    before = {p.name: p.read_bytes() for p in (tmp_path / "board" / "runs").glob("*.json")}
    assert len(before) == 3
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # a terminal sends Ctrl-C to the whole group
    else:
        process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    wait_for(lambda: all(map(gone, workers)))
    if how != signal.SIGKILL:
        assert "stopped: 3 of 5 runs are done and kept" in said
        assert "the same command goes on from there" in said
        assert process.returncode == 1
    with lock(tmp_path / "board"):  # the lock went with the process
        pass
    assert not list((tmp_path / "board" / "runs").glob(".*"))
    monkeypatch.setenv("ACTED", str(tmp_path / "again"))
    more = [make_run("", seed, task="c") for seed in range(2)]
    launch(quick + more)
    assert len((tmp_path / "again").read_text().splitlines()) == 2
    after = {p.name: p.read_bytes() for p in (tmp_path / "board" / "runs").glob("*.json")}
    assert {name: after[name] for name in before} == before


def test_workers_killed_at_random_change_nothing_in_the_end(parent, launch, make_run, monkeypatch, tmp_path):
    acted = tmp_path / "acted"
    monkeypatch.setenv("ACTED", str(acted))
    runs = [make_run("sleep:1", seed) for seed in range(6)]
    process = parent(runs)
    for n in (1, 3):
        wait_for(lambda n=n: acted.exists() and len(acted.read_text().splitlines()) >= n)
        os.kill(int(acted.read_text().splitlines()[-1].split()[0]), signal.SIGKILL)
    assert process.wait(timeout=90) == 0
    records = read_stored(tmp_path / "board").records
    assert sorted(r.status for r in records.values()) == ["crashed"] * 2 + ["ok"] * 4
    records = launch(runs)
    assert sorted(r.attempts for r in records.values()) == [1] * 4 + [2] * 2
    assert {r.run.seed: r.scores["identity"] for r in records.values()} == {seed: seed / 7 for seed in range(6)}


# --- order and progress -------------------------------------------------------------------------------------------


@pytest.fixture
def two_blocks(make_run):
    runs = [make_run(spec=spec, task=task) for task in ("a", "b") for spec in ("quick", "slow", "middling")]
    pace = Pace([])
    for spec, seconds in (("quick", 1), ("slow", 9), ("middling", 3)):
        pace.observe(spec, seconds)
    return {f"{r.task}/{r.spec}": r for r in runs}, pace


def test_blocks_stay_together_and_slow_rows_go_first(two_blocks):
    runs, pace = two_blocks
    queue, last, taken = Queue(runs, pace), None, []
    while one := queue.take(last):
        taken.append(one[0])
        last = one[1].block
    assert taken == ["a/slow", "a/middling", "a/quick", "b/slow", "b/middling", "b/quick"]


def test_a_second_worker_begins_another_block_and_helps_when_none_is_left(two_blocks):
    runs, pace = two_blocks
    queue = Queue(runs, pace)
    first, second, third = queue.take(), queue.take(), queue.take(("toy", "elsewhere", 0))
    assert first
    assert second
    assert third
    assert (first[0], second[0]) == ("a/slow", "b/slow")
    assert third[0] in ("a/middling", "b/middling")
    assert len(queue) == 3


def test_time_left_is_the_rest_of_the_work_over_the_workers(two_blocks):
    runs, pace = two_blocks
    assert pace.left(list(runs.values()), workers=2) == 13
    assert Pace([]).left(list(runs.values()), workers=2) is None


def test_an_unseen_row_is_taken_for_a_slow_one(two_blocks, make_run):
    assert two_blocks[1].expect(make_run(spec="new")) == 9


def test_before_a_trained_run_was_seen_the_floor_tells_how_long_one_takes(make_run):
    pace = Pace([])
    pace.observe("base", 3.0)
    assert pace.expect(make_run()) == pytest.approx(10)


def test_a_folder_is_shown_by_its_name(make_run):
    assert cell(make_run(task="folder:/a/long/way/to/rex?class_word=dog")).split(" · ")[1] == "rex"


def test_plain_lines_tell_what_happened_and_how_long_it_will_take(make_run, capsys):
    shown = Lines(total=3, before=1, out=sys.stdout)
    shown.left(600)
    shown.begins(0, make_run())
    shown.step(0, "training", 3, 150, 0.25)
    assert shown.now[0][1] == "training 3/150, loss 0.2500"
    shown.ends(0, make_run(), "oom", "out of memory", 2.0)
    line = capsys.readouterr().out
    assert line.startswith("[2/3] oom")
    assert "out of memory" in line
    assert "about 10 min left" in line


def test_the_live_table_shows_workers_and_failures(make_run):
    from rich.console import Console

    console = Console(force_terminal=True, width=160, record=True)
    with Live(5, 2, console) as shown:
        shown.begins(0, make_run(task="pocket/subject-mug"))
        shown.step(0, "training", 40, 150, 0.125)
        shown.ends(1, make_run(), "diverged", "loss 1e9", 3.0)
        console.print(shown._table())
    text = console.export_text()
    assert "3/5 done, 1 failed" in text
    assert "training 40/150, loss 0.1250" in text
    assert "pocket/subject-mug" in text
    assert "diverged: lora" in text


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (42.4, "42 s"), (600, "10 min"), (11100, "3 h 05 min")])
def test_spans(seconds, text):
    assert span(seconds) == text
