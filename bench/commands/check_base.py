"""`litmus check-base`: the checks of a base of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results


def check_base(
    base: Annotated[str, typer.Argument(help="a base as in `litmus run --base`, or a Python file that registers one")],
) -> None:
    """Check your base or family of denoisers.

    Examples: `litmus check-base my_base.py` · `litmus check-base models/sdxl`
    """
    from bench.checks.bases import check_base_file, examine_base

    results = check_base_file(base) if base.endswith(".py") else examine_base(base)
    print_results(results, "base")
