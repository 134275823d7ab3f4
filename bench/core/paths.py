"""Where data and results lie: $LITMUS_HOME, else the clone, else the user's cache."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


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


def datasets() -> Path:
    """The folder of task data (`datasets/` below the root)."""
    return root() / "datasets"


def results() -> Path:
    """The folder of boards (`results/` below the root); a board is `results/<protocol>/`."""
    return root() / "results"
