"""A whole board by the command's own path: from a protocol to tables, twice, and through accidents.

The smoke protocol, which comes with the package, is run in test_wheel.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.records.record import Record, read_board

pytestmark = pytest.mark.slow


def litmus(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def told(board: Path) -> dict[str, tuple]:
    """What a board's records say, apart from time."""
    records, faults = read_board(board)
    assert not faults

    def facts(r: Record) -> tuple:
        return r.run, r.status, r.scores, r.curve, r.cost.flops_step, r.cost.bytes_peak, r.cost.scalars_trainable

    return {r.key: facts(r) for r in records}


def cells(board: Path) -> int:
    """Runs that have drawn their pictures."""
    return len(list((board / "runs").glob("*.png")))


def test_a_board_from_nothing_to_tables_again_and_through_accidents(toy_protocol, litmus_home, tmp_path):
    protocol, calm, rough = toy_protocol(), litmus_home / "results" / "toy", tmp_path / "rough"
    first = litmus("bench", protocol, "-j", "1")
    assert first.returncode == 0, first.stderr
    assert "toy: 10 runs: 10 ok" in first.stderr
    assert "Traceback" not in first.stderr
    table = (calm / "table.md").read_text()
    assert "lora" in table
    assert "bias" in table
    files = {p.name: p.stat().st_mtime_ns for p in (calm / "runs").iterdir()}
    again = litmus("bench", protocol)
    assert again.returncode == 0
    assert "10 done, 0 to run" in again.stderr
    assert {p.name: p.stat().st_mtime_ns for p in (calm / "runs").iterdir()} == files
    assert (calm / "table.md").read_text() == table

    # The same board while somebody kills a worker, then the runner: in the end the same numbers.
    for file in (litmus_home / "results" / ".cache").glob("*"):  # it computes its floors itself
        file.unlink()
    command = [sys.executable, "-m", "bench", "bench", str(protocol), "--results", str(rough), "-j", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def workers() -> list[psutil.Process]:
        return [p for p in psutil.Process(process.pid).children() if "bench.runner.worker" in " ".join(p.cmdline())]

    def until(n: int) -> None:
        while process.poll() is None and cells(rough) < n:
            time.sleep(0.02)

    until(1)
    workers()[0].kill()
    until(4)
    left = workers()
    assert left
    process.kill()
    process.wait()
    assert not psutil.wait_procs(left, timeout=60)[1]
    finish = litmus("bench", protocol, "--results", rough, "--retry-failed", "-j", "1")
    assert finish.returncode == 0, finish.stderr
    assert told(rough) == told(calm)
