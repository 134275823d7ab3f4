"""`litmus tasks`: the tasks that are there."""

from __future__ import annotations

from typing import Annotated

import typer


def tasks(
    split: Annotated[str | None, typer.Option(help="tuning, test or user")] = None,
) -> None:
    """List the tasks.

    A folder of pictures is a task too: `folder:PATH` (see `litmus run --help`).
    """
    from bench.tasks import list_tasks

    for name in list_tasks(split):
        print(name)
