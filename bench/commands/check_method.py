"""`litmus check-method`: the contract, for a method of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results


def check_method(
    file: Annotated[str, typer.Argument(help="a Python file with a registered method, or an installed method's name")],
) -> None:
    """Check your method as every method of Litmus is checked.

    Examples:

    `litmus check-method my_method.py`

    `litmus check-method mine`
    """
    from bench.checks.contract import check_file, examine
    from bench.method import METHODS, load_plugins, make

    load_plugins()
    results = examine(make(file)) if file in METHODS else check_file(file)
    print_results(results, "method")
