"""Files that are there whole or not at all, and what to say when one cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import LitmusError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A part file beside `path` to write; it gets its name when the block ends well, and goes when it does not.

    Parents are made. What goes wrong is raised as it is (OSError for a full or unwritable disk).
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):  # in an unwritable folder the part is not there either
            part.unlink()
        raise


class DiskError(LitmusError):
    """A record could not be written: no run after it could be either."""


def no_space(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all; no space or no permission is one clear line."""
    try:
        with whole(path) as part, open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DiskError(disk_line(path.parent, error)) from error


def disk_line(folder: Path, error: OSError) -> str:
    """What to say when something in `folder` could not be written."""
    if no_space(error):
        return f"no space left on the device of {folder}: free some and run again, finished runs are kept"
    return f"cannot write in {folder}: {error.strerror or error} (choose another folder)"


def digest_files(files: Iterable[Path], root: Path) -> str:
    """sha256 over the names (relative to `root`) and bytes of `files`, in the order of their names."""
    h = hashlib.sha256()
    for path in sorted(files):
        h.update(path.relative_to(root).as_posix().encode() + b"\0")
        h.update(hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()
