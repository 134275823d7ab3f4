"""Downloads a list of files whole or not at all: resumes, verifies, retries, then puts everything in place at once.

Files gather in a staging folder beside the target (`.fetch/<name>`), a half-read one as `<file>.part`. Only when every
file has its checksum does the staging folder become the target, by renaming. Imports no torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from queue import SimpleQueue

from bench.core.errors import LitmusError
from bench.fetch.http import Refused, Stopped, receive

WORKERS = 4  # files at once: most of a small file's time is the round trip
TRIES = 5  # a file, before its fault is the user's to see
LINGER = 1.0  # seconds that a thread may take to notice the stop; one that waits for the server is left to end alone
PAUSE = 1.0  # seconds before the second try; doubles each time


@dataclass(frozen=True)
class Item:
    """One file: its place below the target (relative, with /), its address, and what it must be.

    `size` in bytes, None where the list does not say.
    """

    path: str
    url: str
    sha256: str
    size: int | None = None

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith(("/", "~")) or ".." in parts or "\\" in self.path:
            raise LitmusError(f"the list wants to write to '{self.path}', outside its folder: correct the list")


@dataclass(frozen=True)
class Bundle:
    """What is fetched together, and `made`: the text of files of our own making that go along, by their paths.

    `remedy` says what to do where there is no network.
    """

    name: str
    items: tuple[Item, ...]
    remedy: str = ""
    made: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Tally:
    """How far it is, for whoever shows it; bytes count files that were there already."""

    files: int
    bytes_all: int  # 0 where the list does not say every size
    files_done: int = 0
    bytes_done: int = 0
    files_received: int = 0  # in this session, as the next
    bytes_received: int = 0
    trouble: str = ""  # the fault that is being waited out; nothing once bytes come again
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """At the mean rate of this session; None before anything has come."""
        if self.bytes_all:
            done, left = self.bytes_received, self.bytes_all - self.bytes_done
        else:
            done, left = self.files_received, self.files - self.files_done
        return max(0, left) * (time.monotonic() - self.began) / done if done else None


Show = Callable[[Tally], None]


@dataclass(frozen=True)
class Outcome:
    """Where it lies, how many files were received now and how many were there."""

    folder: Path
    received: int
    kept: int


def fetch(
    bundle: Bundle, target: Path, show: Show = lambda tally: None, tries: int = TRIES, pause: float = PAUSE
) -> Outcome:
    """Every file of `bundle` below `target`, each with its checksum.

    What lies there with the right checksum stays; what else lies there is carried over. Raises LitmusError with one
    line and the remedy when a file cannot be had; what has arrived is kept for the next call. KeyboardInterrupt passes
    through, after the threads have stopped.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LitmusError(f"{target} is no plain folder: remove it, or give another folder with --to")
    staging = target.parent / ".fetch" / target.name
    with _writing(staging), _locked(staging.with_name(f"{target.name}.lock")):
        _mend(staging, target)
        right = {item.path for item in bundle.items if _is(target / item.path, item)}
        if len(right) == len(bundle.items) and all(_says(target / path, text) for path, text in bundle.made.items()):
            return Outcome(target, 0, len(right))
        for path in sorted(right):
            _copy(target / path, staging / path)
        received = _Session(bundle, staging, show, tries, pause).run()
        for path, text in bundle.made.items():
            (staging / path).write_text(text, encoding="utf-8")
        _install(staging, target)
    return Outcome(target, received, len(bundle.items) - received)


class _Session:
    """One go at the files that are missing, several at a time."""

    def __init__(self, bundle: Bundle, staging: Path, show: Show, tries: int, pause: float):
        self.bundle, self.staging, self.show, self.tries, self.pause = bundle, staging, show, tries, pause
        sizes = [item.size for item in bundle.items]
        self.tally = Tally(len(sizes), 0 if None in sizes else sum(size or 0 for size in sizes))
        self.lock, self.stop = threading.Lock(), threading.Event()

    def run(self) -> int:
        """How many files were received. LitmusError at the first that cannot be had."""
        self._tidy()
        todo = []
        for item in self.bundle.items:
            if _is(self.staging / item.path, item):
                self._count((self.staging / item.path).stat().st_size, 0, 1)
            else:
                todo.append(item)
        self._room(sum(item.size or 0 for item in todo))
        results: SimpleQueue[BaseException | None] = SimpleQueue()
        work = iter(todo)

        def bring() -> None:
            while not self.stop.is_set():
                with self.lock:
                    item = next(work, None)
                if item is None:
                    return
                try:
                    results.put(self._one(item))
                except BaseException as error:
                    results.put(error)

        # Daemons, not a pool: a pool waits for its threads, and one of them may wait for a silent server.
        threads = [threading.Thread(target=bring, daemon=True) for _ in range(min(WORKERS, len(todo)))]
        for thread in threads:
            thread.start()
        try:
            for _ in todo:
                if (error := results.get()) is not None:
                    raise error
        except Refused as error:
            raise self._explained(error) from None
        finally:  # also when the user stops it
            self.stop.set()
            for thread in threads:
                thread.join(LINGER)
        return len(todo)

    def _explained(self, error: Refused) -> LitmusError:
        had = f"{self.tally.files_done} of {self.tally.files} files are kept for the next try"
        return LitmusError(f"{error}; {had}" + (f". {self.bundle.remedy}" if self.bundle.remedy else ""))

    def _one(self, item: Item) -> None:
        """Bring one file to its place in the staging folder, verified."""
        final = self.staging / item.path
        part = final.with_name(f"{final.name}.part")
        final.parent.mkdir(parents=True, exist_ok=True)
        had = part.stat().st_size if part.exists() else 0
        self._count(had, 0, 0)
        spoilt = False
        for attempt in range(1, self.tries + 1):
            before = had
            try:
                for had in receive(item.url, part, item.size, self.stop):
                    self._count(had - before, max(0, had - before), 0)
                    before = had
                found = sha256(part)
                if found == item.sha256:
                    os.replace(part, final)
                    self._count(0, 0, 1, 1)
                    return
                part.unlink()
                # What a broken connection may have done once, a second whole copy rules out.
                told = f"{item.url} gives another file than the list says (its sha256 is {found[:12]}...)"
                fault = Refused(told, final=spoilt)
                spoilt = True
            except Refused as error:
                fault = error
            had = part.stat().st_size if part.exists() else 0
            self._count(had - before, 0, 0)
            if fault.final or attempt == self.tries:
                raise fault
            self.tally.trouble = str(fault)
            self._count(0, 0, 0)
            if self.stop.wait(fault.after or self.pause * 2 ** (attempt - 1)):
                raise Stopped

    def _tidy(self) -> None:
        """Remove from the staging folder what an older list left there."""
        known = {self.staging / end for item in self.bundle.items for end in (item.path, f"{item.path}.part")}
        for file in [p for p in self.staging.rglob("*") if p.is_file() and p not in known]:
            file.unlink()

    def _count(self, done: int, received: int, files: int, files_received: int = 0) -> None:
        with self.lock:
            self.tally.bytes_done += done
            self.tally.bytes_received += received
            self.tally.files_done += files
            self.tally.trouble = "" if received else self.tally.trouble
            self.tally.files_received += files_received
            self.show(self.tally)

    def _room(self, needed: int) -> None:
        free = shutil.disk_usage(self.staging).free
        if free < needed:
            raise LitmusError(
                f"{self.bundle.name} needs {needed / 1e6:.0f} MB and {self.staging.parents[1]} has {free / 1e6:.0f} MB "
                "free: free some, or give another folder with --to"
            )


def sha256(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is(file: Path, item: Item) -> bool:
    """The file is there and is the one that the list means."""
    return file.is_file() and item.size in (None, file.stat().st_size) and sha256(file) == item.sha256


def _says(file: Path, text: str) -> bool:
    return file.is_file() and file.read_bytes() == text.encode()


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        try:
            os.link(file, to)
        except OSError:  # a file system without hard links
            shutil.copy2(file, to)


def _install(staging: Path, target: Path) -> None:
    """The staging folder becomes the target; what else lay in the old target goes along."""
    old = staging.with_name(f"{target.name}.old")
    if target.exists():
        os.replace(target, old)
    os.replace(staging, target)
    if old.exists():
        _carry(old, target)


def _carry(old: Path, target: Path) -> None:
    """Move to `target` what only `old` has, then remove `old`."""
    for file in sorted(p for p in old.rglob("*") if p.is_file() or p.is_symlink()):
        to = target / file.relative_to(old)
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, to)
    shutil.rmtree(old)


def _mend(staging: Path, target: Path) -> None:
    """Finish or undo an exchange of folders that was cut off between its two renames."""
    old = staging.with_name(f"{target.name}.old")
    if old.exists() and target.exists():
        _carry(old, target)
    elif old.exists():
        os.replace(old, target)
    staging.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A fault of the disk as one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        parent = folder.parents[1]
        raise LitmusError(
            f"cannot write in {parent}: {error.strerror or error} (what has arrived is kept; --to takes another folder)"
        ) from error


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Only one process fetches into a folder; the lock goes with the process."""
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LitmusError(f"another litmus is fetching {file.stem}: wait for it") from None
        yield
        with contextlib.suppress(OSError):  # nothing is left behind where everything is in place
            file.with_suffix("").rmdir()
        if not file.with_suffix("").exists():
            file.unlink()
            with contextlib.suppress(OSError):
                file.parent.rmdir()
