"""`litmus params`: what each method trains on published denoisers."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table, say
from bench.core.errors import LitmusError


def params(
    methods: Annotated[str | None, typer.Option(help="methods, separated by commas  [default: all]")] = None,
    bases: Annotated[str | None, typer.Option(help="bases, separated by commas  [default: all]")] = None,
    share: Annotated[str | None, typer.Option(help="set sizes to these shares of the denoiser: 0.05%,0.2%")] = None,
    form: Annotated[str, typer.Option("--format", help="table, md, csv or json")] = "table",
) -> None:
    """Count what each method trains on published denoisers.

    Scalars, share of the denoiser and bytes stored, from the shapes alone: no weights are needed.

    Examples:

    `litmus params`

    `litmus params --methods lora,lora[rank=8] --bases sd15,sdxl`

    `litmus params --methods lora,adapter --share 0.05%,0.2% --format csv`
    """
    from bench.core.errors import nearest
    from bench.core.text import refusals, share_of, split
    from bench.listings import params as counts

    if form not in counts.FORMATS:
        raise LitmusError(nearest(form, dict.fromkeys(counts.FORMATS), "format"))
    rows = counts.rows(split(methods), split(bases), [share_of(s) for s in split(share)])
    if form == "table":
        print_table(*counts.wide(rows))
    else:
        print(counts.written(rows, form))
    for line in refusals(rows):
        say(line)
