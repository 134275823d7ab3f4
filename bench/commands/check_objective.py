"""`litmus check-objective`: the checks of an objective of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results


def check_objective(
    file: Annotated[str, typer.Argument(help="a Python file with a registered objective, or an objective's spec")],
) -> None:
    """Check your objective as every objective is checked.

    Examples: `litmus check-objective my_objective.py` · `litmus check-objective "prior[weight=0.5]"`
    """
    from bench.checks.objectives import check_file, examine
    from bench.objectives import OBJECTIVES

    OBJECTIVES.load()
    named = file.partition("[")[0].strip() in OBJECTIVES
    print_results(examine(OBJECTIVES.read(file)) if named else check_file(file), "objective")
