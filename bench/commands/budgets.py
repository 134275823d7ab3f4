"""`litmus budgets`: which parameter budgets each method reaches, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_file


def budgets(
    methods: Annotated[
        str | None, typer.Option(help="methods, separated by commas  [default: all with a size]")
    ] = None,
    base: Annotated[str, typer.Option(help="a base of `litmus params`")] = "sd15",
    share: Annotated[str, typer.Option(help="shares of the denoiser")] = "0.05%,0.2%,0.75%,3%",
    write: Annotated[Path | None, output_file("--write", help="write the page to this file")] = None,
) -> None:
    """Find the size for each method at a parameter budget.

    A budget is a share of a published denoiser's parameters; where no size of a method reaches it, the nearest is
    shown.

    Examples:

    `litmus budgets --methods lora,adapter`

    `litmus budgets --base sdxl --share 0.1%`

    `litmus budgets --write docs/budgets.md`
    """
    from bench.bases.architectures import ARCHITECTURES
    from bench.core.errors import LitmusError, nearest
    from bench.core.text import share_of, split
    from bench.listings import budgets as reached

    if base not in ARCHITECTURES:
        raise LitmusError(nearest(base, ARCHITECTURES, "base"))
    cells = reached.cells(split(methods), base, [share_of(one) for one in split(share)])
    if write is not None:
        reached.write(write, cells, base)
        print(write)
    else:
        print(reached.page(cells, base).partition(reached.END)[0].rstrip())
