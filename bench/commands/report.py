"""`litmus report`: a board's tables, figures and page from its records."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands import anova as study
from bench.commands.shared import finish, write_report
from bench.report.results import board_folder, board_names


def report(
    board: Annotated[str, typer.Argument(autocompletion=board_names, help="a board's name, or its folder")],
) -> None:
    """Write tables, figures and page again, from records.

    Examples:

    `litmus report quick`

    `litmus report results/mine`
    """
    folder = board_folder(board)
    if (folder / "design.json").is_file():  # a study of `litmus anova`
        study.write_report(folder)
        return
    finish(write_report(folder))
