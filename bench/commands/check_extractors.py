"""`litmus check-extractors`: the checks of extractors of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results


def check_extractors(
    name: Annotated[
        str, typer.Argument(help="extractors as in `litmus run --extractors`, or a Python file that registers some")
    ],
) -> None:
    """Check your extractors: digest, features, sizes.

    Examples: `litmus check-extractors my_encoders.py` · `litmus check-extractors dino-clip`
    """
    from bench.checks.extractors import check_extractors_file, examine_extractors

    print_results(check_extractors_file(name) if name.endswith(".py") else examine_extractors(name), "extractors")
