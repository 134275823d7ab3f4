"""`litmus tasks`: what there is to learn."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table, task_names

NAME = Annotated[str | None, typer.Argument(autocompletion=task_names, help="one task, with its whole card")]


def tasks(
    name: NAME = None,
    split: Annotated[str | None, typer.Option(help="tuning, test or user")] = None,
    names: Annotated[bool, typer.Option("--names", help="only the names, one a line")] = False,
) -> None:
    """List the tasks and the ways to name others, or show one.

    Examples: `litmus tasks` · `litmus tasks --split tuning` · `litmus tasks pocket/subject-mug` ·
    `litmus tasks "folder:photos/rex?class_word=dog"`
    """
    from bench.listings import tasks as listing
    from bench.tasks import list_tasks

    if name is not None:
        for key, value in listing.card(name):
            print(f"{key:12}{value}")
        return
    if names:
        for one in list_tasks(split):
            print(one)
        return
    print_table(*listing.table(split))
    print()
    print_table(*listing.sources())
