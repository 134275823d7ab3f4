"""`litmus metrics`: the scores and what they mean."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table


def metrics(name: Annotated[str | None, typer.Argument(help="one metric, with its whole card")] = None) -> None:
    """List the metrics: what each measures, its range and direction."""
    from bench.metrics import METRICS, metric

    shown = [metric(name)] if name else METRICS.values()
    print_table(
        ["metric", "better", "range", "what it measures"],
        [
            [m.name, "higher" if m.higher_is_better else "lower", f"{m.bounds[0]} to {m.bounds[1]}", m.definition]
            for m in shown
        ],
    )
