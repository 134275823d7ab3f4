"""Where in an author's code an error came from, for the line that reports it."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from bench.plugin.registry import Part, home

HARNESS = Path(__file__).resolve().parents[1]
LIBRARIES = {Path(p).resolve() for p in (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),)}


def where(error: BaseException, part: Part | type[Part]) -> str:
    """ "norms.py:23": the innermost line of the part's own file in the traceback, else of other code of its author.

    "" where the error passed through none, as when a check itself complains.
    """
    file = home(part if isinstance(part, type) else type(part))[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    theirs = own or [frame for frame in frames if _outside(frame.filename)]
    return f"{_short(theirs[-1].filename)}:{theirs[-1].lineno}" if theirs else ""


def _outside(name: str) -> bool:
    path = Path(name).resolve()
    return path.is_file() and not any(path.is_relative_to(top) for top in (HARNESS, *LIBRARIES))


def _short(name: str) -> str:
    """Relative to the working directory where the file lies in it."""
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else name
