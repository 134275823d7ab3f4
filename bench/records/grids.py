"""Metrics of pictures for runs that are done, from the sample grids beside their records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError

if TYPE_CHECKING:
    from bench.evaluation.pictures import PictureScores
    from bench.records.record import Record
    from bench.tasks import Task


def score(record: Record, folder: Path, names: Sequence[str]) -> PictureScores:
    """The metrics `names`, which see pictures, of `record`, whose side files lie in `folder`.

    The task must be the one of the run; the base is not loaded, its kind tells the side of its pictures. Raises
    LitmusError for a grid that is not there or not the run's, and for a task that is another now.
    """
    from bench.evaluation.pictures import score_grid
    from bench.extractors import load_extractors

    run = record.run
    sheet = folder / record.files.get("grid", "")
    if not sheet.is_file():
        raise LitmusError(f"{record.key} has no sample grid beside it: run it again to make it anew")
    task = _task(run.task, run.base)
    if task.digest != run.task_digest:
        raise LitmusError(f"the task {run.task} is another now than when {record.key} ran: run it again")
    return score_grid(sheet, task, run.method, run.sample.per_prompt, load_extractors(run.extractors), names)


@lru_cache(maxsize=4)  # the records of a board repeat them, and a task keeps the pictures that it opened
def _task(name: str, base: str) -> Task:
    from bench import tasks

    return tasks.load(name).at(_side(base))


def _side(base: str) -> int | tuple[int, int]:
    """Pixels a side, or (height, width), of the pictures of a base, without its weights where its kind tells it."""
    from bench.bases import find_source, load_base

    source = find_source(base)
    told = source.card().get("resolution", "") if source else ""
    if not told:
        return load_base(base).resolution
    width, _, height = told.partition("x")
    return (int(height), int(width)) if height else int(width)
