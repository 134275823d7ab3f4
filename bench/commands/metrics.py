"""`litmus metrics`: the scores and what they mean."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table


def metrics(
    name: Annotated[str | None, typer.Argument(help="one, with its whole card; torchmetrics: all of those")] = None,
) -> None:
    """List the metrics, or show one: meaning, range, direction.

    Examples: `litmus metrics` · `litmus metrics kid` · `litmus metrics torchmetrics` ·
    `litmus metrics torchmetrics.TotalVariation`
    """
    from bench.listings import metrics as cards

    if name in (None, "torchmetrics"):
        print_table(*cards.listing(of_torchmetrics=name is not None))
    else:
        print_table(*cards.card(name))
