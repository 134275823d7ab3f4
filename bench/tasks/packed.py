"""The tasks that travel in a wheel: datasets/pocket as one zip, unpacked once where tasks are looked for.

A clone has the folder itself and no zip (setup.py makes it when a wheel is built).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import LitmusError
from bench.core.paths import datasets, root

ARCHIVE = Path(__file__).with_name("pocket.zip")
SUMS = "SHA256SUMS"  # in the archive: a line "sha256  name" for each other file of it
WORK = ".unpack"  # beside the folder: what is being unpacked
MARK = ".unpacked"  # in the folder: the SHA-256 of the SUMS that it was unpacked from


def ensure_tasks() -> None:
    """The packed tasks lie in datasets/pocket after this; nothing is done where there is no archive, as in a clone.

    Every file is compared with its checksum, and the folder gets its name when all are right; of two processes one
    waits for the other. A folder of another release's wheel is replaced. One that is somebody's own is left as it is,
    and a $LITMUS_HOME that does not exist is not made. Raises LitmusError where the archive is damaged or the folder
    cannot be written.
    """
    folder = datasets() / "pocket"
    if not ARCHIVE.is_file() or (os.environ.get("LITMUS_HOME") and not root().is_dir()):
        return
    with zipfile.ZipFile(ARCHIVE) as archive:
        release = hashlib.sha256(archive.read(SUMS)).hexdigest()
        if _settled(folder, release):
            return
        try:
            with _alone(folder.with_name(WORK)) as work:
                if not _settled(folder, release):
                    _unpack(archive, work, release)
                    if folder.is_dir():  # of another release
                        os.replace(folder, work / "old")
                    os.replace(work / "new", folder)
        except OSError as error:
            raise LitmusError(
                f"the pocket tasks cannot be unpacked into {folder}: {error.strerror or error} "
                "(set LITMUS_HOME to a folder that can be written)"
            ) from error


def _settled(folder: Path, release: str) -> bool:
    """Whether `folder` is there and either of this release or somebody's own."""
    mark = folder / MARK
    return folder.is_dir() and (not mark.is_file() or mark.read_text(encoding="utf-8") == release)


@contextmanager
def _alone(work: Path) -> Iterator[Path]:
    """An empty folder for one process at a time; the lock goes with its process, however that ends."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _clear(work)  # of what a killed process left
        yield work
        _clear(work)


def _clear(work: Path) -> None:
    for folder in (work / "new", work / "old"):
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: zipfile.ZipFile, work: Path, release: str) -> None:
    """All files below work/new, each checked."""
    lines = archive.read(SUMS).decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    names = set(archive.namelist())
    if names != {*sums, SUMS}:
        raise LitmusError(f"{ARCHIVE} does not hold the files that it lists: install the package again")
    for name in sorted(names):
        try:
            data = archive.read(name)
        except (zipfile.BadZipFile, zlib.error):
            data = b""
        if name in sums and hashlib.sha256(data).hexdigest() != sums[name]:
            raise LitmusError(f"{name} in {ARCHIVE} is damaged: install the package again")
        (work / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "new" / name).write_bytes(data)
    (work / "new" / MARK).write_text(release, encoding="utf-8")
