"""A worker process: takes runs as JSON lines on stdin, writes their records, answers in JSON lines on its first stdout.

Started by bench.runner.launch as `python -m bench.runner.worker PARENT_PID`. Its own standard output goes where
standard error goes (a log file), so a library that prints cannot break the conversation. It never outlives its parent:
the kernel ends it with the parent where that can be asked for (Linux), and everywhere it ends when stdin closes.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError
from bench.core.files import DiskError, disk_line, no_space
from bench.core.settings import Settings
from bench.records.record import Record, Run, write

Report = Callable[..., None]  # report(phase, step, of, loss)
Execute = Callable[[str, Run, Path, Report, Settings], Record]  # (key, run, folder for side files, ...) -> record
EVERY = 0.2  # seconds between progress messages of one worker

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we could ask
        os._exit(1)


def serve(execute: Execute) -> None:
    """Work until stdin closes. The first line is {"board", "settings"}, each further one {"key", "run", "attempt"}."""
    out = os.dup(1)
    os.dup2(2, 1)
    _die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means

    def say(**message: Any) -> None:
        os.write(out, json.dumps(message).encode() + b"\n")

    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)  # the parent is gone or has nothing left: nobody waits for what is under way

    threading.Thread(target=listen, daemon=True).start()
    hello = jobs.get()
    settings = Settings(**hello["settings"])
    folder = Path(hello["board"]) / "runs"
    say(event="ready")
    while True:
        job = jobs.get()
        try:
            record = _execute(execute, job["key"], Run.model_validate(job["run"]), folder, _throttled(say), settings)
            record.provenance.machine.workers = settings.workers
            record.attempts = job["attempt"]
            write(record, folder)
        except DiskError as error:
            say(event="fatal", error=str(error))
            continue
        say(event="done", status=record.status, error=record.error, seconds=record.cost.seconds_total)


def _execute(execute: Execute, key: str, run: Run, folder: Path, report: Report, settings: Settings) -> Record:
    """The run's record; an unexpected fault is a record too, with its traceback in the log."""
    try:
        return execute(key, run, folder, report, settings)
    except DiskError:
        raise
    except OSError as error:
        if no_space(error):
            raise DiskError(disk_line(folder, error)) from error
        return _failed(key, run, error)
    except Exception as error:
        return _failed(key, run, error)


def _failed(key: str, run: Run, error: Exception) -> Record:
    import traceback

    from bench.records.provenance import now, provenance

    text = " ".join(str(error).split()) or "no message"
    if not isinstance(error, LitmusError):
        traceback.print_exc()
        text = f"{type(error).__name__}: {text}"
    return Record(key=key, run=run, status="error", error=text[:500], provenance=provenance(now()))


def _throttled(say: Callable[..., None]) -> Report:
    last = 0.0

    def report(phase: str, step: int = 0, of: int = 0, loss: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(event="step", phase=phase, step=step, of=of, loss=loss)

    return report


if __name__ == "__main__":
    from bench.runner.run import execute

    serve(execute)
