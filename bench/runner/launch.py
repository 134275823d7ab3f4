"""Runs side by side in worker processes: one record per run, whatever becomes of it.

The parent imports no torch. A worker that is killed, hangs or runs out of memory becomes a record and is replaced;
what is lost when the parent goes is only the runs under way, and running again does only what has no record.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError
from bench.core.files import DiskError, disk_line
from bench.core.settings import ALONE, Settings
from bench.records.provenance import cores, now, provenance
from bench.records.record import ATTEMPTS, MACHINE, Record, Run, Stored, read, write
from bench.runner.progress import Progress
from bench.runner.queue import Pace, Queue

RETRIED = ("error", *MACHINE)  # what --retry-failed runs again; diverged is a result
COMMAND = (sys.executable, "-m", "bench.runner.worker")
LIMIT = "limits.timeout of the protocol"  # what sets the seconds that a run may take
MAX_STARTUP_FAILURES = 3  # workers that may die before their first run; after that it is the installation, not chance


class Stopped(Exception):
    """Ctrl-C or a request to end: finished runs are kept."""


@contextlib.contextmanager
def lock(board: Path) -> Iterator[None]:
    """Only one runner works on a board; the lock goes with the process, so none is left behind by a crash."""
    path = board / ".lock"
    try:
        board.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115  closed by the with below
    except OSError as error:
        raise DiskError(disk_line(board, error)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LitmusError(
                f"another litmus (process {file.read().strip() or '?'}) works on {board}: wait for it, or choose "
                "another folder with --results"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        with contextlib.suppress(OSError):  # a full disk: the process number is only for the message above
            file.flush()
        yield


def missing(
    plan: Mapping[str, Run], stored: Stored, retry_failed: bool = False
) -> tuple[dict[str, Run], dict[str, Record]]:
    """The runs of `plan` that are to be done, and the records it has.

    To be done is what has no record among the board's `stored`, what the machine ended and was begun fewer than
    ATTEMPTS times, and with `retry_failed` all that failed. A file that cannot be read is never written over, so that
    its run is neither.
    """

    def again(record: Record) -> bool:
        return (record.lost and record.attempts < ATTEMPTS) or (retry_failed and record.status in RETRIED)

    have = {key: record for key, record in stored.records.items() if key in plan and not again(record)}
    return {key: run for key, run in plan.items() if key not in have and key not in stored.unread}, have


@dataclass
class _Worker:
    """One worker process and what it is doing."""

    number: int
    process: subprocess.Popen[bytes]
    ready: bool = False
    job: tuple[str, Run] | None = None
    before: Record | None = None  # the record that the job had: an old failure
    attempt: int = 1  # how often the job was begun, this time included
    began: float = 0.0  # monotonic
    started: str = ""  # ISO 8601
    heard: bytes = field(default=b"", repr=False)
    last: tuple | None = None  # block of its last run

    def tell(self, **message: Any) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # its death is noticed where its answers are read
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def listen(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; None once the worker is gone."""
        assert self.process.stdout
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self.heard = (self.heard + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Kill and reap; a run that was under way leaves nothing, since records are written whole or not at all."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Launcher:
    """Hands `todo` to workers and collects their records in `board`/runs."""

    def __init__(
        self,
        todo: dict[str, Run],
        board: Path,
        progress: Progress,
        *,
        timeout: float,
        workers: int = 0,
        pace: Pace | None = None,
        command: Sequence[str] = COMMAND,
        queue: Queue | None = None,
        settings: Settings = ALONE,
        limit: str = LIMIT,
    ):
        self.board, self.progress, self.timeout, self.command, self.limit = board, progress, timeout, command, limit
        self.pace = pace or Pace([])
        self.queue = Queue(todo, self.pace) if queue is None else queue
        self.wanted = max(1, min(workers or cores(), len(todo)))
        self.settings = replace(settings, workers=self.wanted)
        self.workers: dict[int, _Worker] = {}
        self.selector = selectors.DefaultSelector()
        self.startup_failures = 0
        self.started = 0  # workers so far: each has its own log

    def run(self) -> None:
        """Work until nothing is left. Raises Stopped, or LitmusError when records cannot be written."""
        with _stoppable():
            try:
                while len(self.queue) or any(w.job for w in self.workers.values()):
                    self._hire()
                    self._hear()
                    self._time()
            finally:
                for worker in list(self.workers.values()):
                    self._dismiss(worker)
                self.selector.close()

    def _open(self) -> list[Run]:
        """Runs that are not done, those under way included."""
        return self.queue.runs() + [w.job[1] for w in self.workers.values() if w.job]

    def _hire(self) -> None:
        """As many workers as there is work for."""
        busy = sum(1 for w in self.workers.values() if w.job)
        while len(self.workers) < min(self.wanted, busy + len(self.queue)):
            number = min(set(range(self.wanted)) - set(self.workers))
            worker = _Worker(number, self._spawn(number))
            self.workers[number] = worker
            assert worker.process.stdout
            self.selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            worker.tell(board=str(self.board.resolve()), settings=asdict(self.settings))

    def _log(self, number: int) -> Path:
        return self.board / "logs" / f"worker-{number}.log"

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        path = self._log(number)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The first worker of a session begins the log anew; its replacements add to it.
            with open(path, "wb" if self.started < self.wanted else "ab") as log:
                self.started += 1
                return subprocess.Popen(
                    [*self.command, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches the parent alone
                    env={**os.environ, **one_thread, "TOKENIZERS_PARALLELISM": "false"},
                )
        except OSError as error:
            raise DiskError(disk_line(path.parent, error)) from error

    def _dismiss(self, worker: _Worker) -> None:
        if self.workers.pop(worker.number, None):
            self.selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        worker.end()
        self.progress.idle(worker.number)

    def _give(self, worker: _Worker) -> None:
        """The next run for a worker that is free, or nothing left: then it may go."""
        worker.job = self.queue.take(worker.last)
        if worker.job is None:
            self._dismiss(worker)
            return
        key, run = worker.job
        worker.began, worker.started, worker.last = time.monotonic(), now(), run.block
        worker.before = before = self._stored(key)
        worker.attempt = 1 + before.attempts if before and not before.ok else 1
        worker.tell(key=key, run=run.model_dump(mode="json"), attempt=worker.attempt)
        self.progress.begins(worker.number, run)

    def _hear(self) -> None:
        for event, _ in self.selector.select(timeout=0.25):
            worker: _Worker = event.data
            messages = worker.listen()
            if messages is None:
                self._died(worker)
                continue
            for message in messages:
                self._obey(worker, message)

    def _obey(self, worker: _Worker, message: dict[str, Any]) -> None:
        match message.pop("event"):
            case "ready":
                worker.ready = True
                self._give(worker)
            case "step":
                self.progress.step(worker.number, **message)
            case "done":
                self._done(worker, **message)
                self._give(worker)
            case "fatal":
                raise DiskError(message["error"])

    def _done(self, worker: _Worker, status: str, error: str, seconds: float | None) -> None:
        assert worker.job
        run = worker.job[1]
        seconds = seconds or time.monotonic() - worker.began
        if status == "ok":
            self.pace.observe(run.spec, seconds)
        worker.job = None
        self.progress.left(self.pace.left(self._open(), self.wanted))
        self.progress.ends(worker.number, run, status, error, seconds)

    def _time(self) -> None:
        for worker in list(self.workers.values()):
            if worker.job and time.monotonic() - worker.began > self.timeout:
                self._lost(worker, "timeout", f"took longer than {self.timeout:g} s ({self.limit})")

    def _died(self, worker: _Worker) -> None:
        code = worker.process.wait()
        if worker.job:
            self._lost(worker, "crashed", _how(code))
            return
        self._dismiss(worker)
        self.startup_failures += 1
        if self.startup_failures >= MAX_STARTUP_FAILURES:
            log = self._log(worker.number)
            last = (log.read_text(errors="replace").strip() or "it said nothing").splitlines()[-1]
            raise LitmusError(f"the workers do not start: {last} (the whole log: {log})")

    def _stored(self, key: str) -> Record | None:
        """The record of a run as it lies there."""
        path = self.board / "runs" / f"{key}.json"
        with contextlib.suppress(LitmusError):
            return read(path) if path.exists() else None
        return None

    def _lost(self, worker: _Worker, status: str, error: str) -> None:
        """A run whose worker is gone or must go: a record says so, unless the worker had just written its own."""
        assert worker.job
        key, run = worker.job
        self._dismiss(worker)
        record = self._stored(key)
        if record is None or record == worker.before:
            about = provenance(worker.started, self.wanted)
            parts = {"status": status, "error": error, "attempts": worker.attempt, "provenance": about}
            record = Record.model_validate({"key": key, "run": run, **parts})
            write(record, self.board / "runs")
        self._done(worker, record.status, record.error, time.monotonic() - worker.began)


def _how(code: int) -> str:
    """How a worker ended, in words."""
    if code == -signal.SIGKILL:
        return "the worker was killed (signal 9): by someone, or by the out-of-memory killer"
    if code < 0:
        return f"the worker was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"the worker ended by itself with code {code}"


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C, a polite request to end and a closed terminal all raise Stopped."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
