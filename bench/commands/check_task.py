"""`litmus check-task`: the checks of a task of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results, task_names


def check_task(
    name: Annotated[str, typer.Argument(autocompletion=task_names, help="a task's name, or folder:PATH")],
) -> None:
    """Check a task: pictures, captions, prompts, leaks.

    Examples: `litmus check-task pocket/subject-mug` · `litmus check-task "folder:photos/rex?class_word=dog"`
    """
    from bench.checks.tasks import examine

    print_results(examine(name), "task")
