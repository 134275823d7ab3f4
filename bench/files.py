"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
