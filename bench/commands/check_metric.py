"""`litmus check-metric`: the checks of a metric of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results


def check_metric(
    file: Annotated[str, typer.Argument(help="a Python file with a registered metric, or a registered metric's name")],
) -> None:
    """Check your metric: card, bounds, direction.

    Examples: `litmus check-metric my_metric.py` · `litmus check-metric kid`
    """
    from bench.checks.metrics import check_file, examine
    from bench.metrics import METRICS

    METRICS.load()
    results = examine(METRICS.make(file)) if file in METRICS else check_file(file)
    print_results(results, "metric")
