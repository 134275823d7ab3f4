"""`litmus plan`: what a board would run."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.options import BASE, PROTOCOL, RESULTS_READ
from bench.commands.shared import planned_board, print_table, rules_of


def plan(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS_READ = None,
    every: Annotated[bool, typer.Option("--every", help="list each run with its key")] = False,
) -> None:
    """Show what a protocol would run and what is done.

    Runs and fetches nothing; what a run would have to fetch is said.

    Example: `litmus plan quick --every`
    """
    from bench.runner import board
    from bench.runner.progress import cell

    planned = planned_board(rules_of(protocol, base, dry=True), results, None, False, dry=True)
    if every:
        rows = [["" if planned.away else key, planned.status(key), cell(run)] for key, run in planned.plan.items()]
        print_table(["key", "status", "run"], rows)
        return
    rows = board.by_row(planned)
    if planned.away:
        rows = [[*row[:-1], "?"] for row in rows]
    print_table(["method", "lr", "objective", "tasks", "seeds", "runs", "done"], rows)
