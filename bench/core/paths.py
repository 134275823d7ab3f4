"""Where data and results lie: $LITMUS_HOME, else the clone, else the user's cache."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from bench.core.errors import LitmusError


@lru_cache
def clone() -> Path | None:
    """The clone that this file belongs to, if it belongs to one: the nearest parent with this project's metadata."""
    for folder in Path(__file__).resolve().parents:
        file = folder / "pyproject.toml"
        if file.is_file() and 'name = "peft-litmus"' in file.read_text(encoding="utf-8"):
            return folder
    return None


def root() -> Path:
    """The folder that holds datasets/ and results/: $LITMUS_HOME, else the clone, else the user's cache."""
    if home := os.environ.get("LITMUS_HOME"):
        return Path(home).expanduser()
    if here := clone():
        return here
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litmus"


def made_home() -> str:
    """Make the folder that $LITMUS_HOME names where it is not there yet; the line that says so, "" where it is.

    LitmusError where it cannot be one.
    """
    home = os.environ.get("LITMUS_HOME")
    if not home or root().is_dir():
        return ""
    try:
        root().mkdir(parents=True)
    except OSError as error:
        reason = "it is a file" if root().is_file() else (error.strerror or str(error)).lower()
        raise LitmusError(f"LITMUS_HOME is {home}, which cannot be a folder ({reason}): set it to another") from None
    return f"note: LITMUS_HOME={home} was not there and has been made: datasets and results will lie in it"


def datasets() -> Path:
    """The folder of task data (`datasets/` below the root)."""
    return root() / "datasets"


def results() -> Path:
    """The folder of boards (`results/` below the root); a board is `results/<protocol>/`."""
    return root() / "results"
