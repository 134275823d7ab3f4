"""`litmus rescore`: scores of runs that are done, from the features and sample grids beside their records."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from bench.commands.shared import parts, say
from bench.report.results import board_folder, board_names


def _metric_names() -> list[str]:
    from bench.metrics import listed

    return [cls.name for cls in listed()]


def rescore(
    board: Annotated[str, typer.Argument(autocompletion=board_names, help="a board's name, or its folder")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="only this one, also of torchmetrics (litmus metrics --torchmetrics); may be repeated",
            autocompletion=_metric_names,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="also scores that are there with the current version of their metric")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be computed; write nothing")] = False,
    without_features: Annotated[
        bool, typer.Option("--without-features", help="only list the records that have none, one path a line")
    ] = False,
) -> None:
    """Compute new or mended metrics of finished runs.

    Metrics that a board's records lack, or have from an older version, come from the features beside the records, those
    of torchmetrics from the sample grids. No run is done again. Scores that are there with the current version of their
    metric stay as they are, since features are kept in float16; they are compared.

    Examples: `litmus rescore quick` · `litmus rescore quick --metric kid --dry-run` ·
    `litmus rescore quick --metric torchmetrics.TotalVariation` · `litmus rescore quick --without-features`
    """
    from bench.records import features
    from bench.records import rescore as records
    from bench.runner.launch import lock

    folder = board_folder(board)
    with lock(folder), parts() as tell:
        found = records.rescore(folder, metric or (), every, dry_run or without_features, partial(tell, "scoring"))
    if without_features:
        for path in found.without:
            print(path)
        return
    for fault in found.faults:
        say(fault)
    say(f"{folder.name}: {found.runs} runs that ended well; {features.told(folder)}")
    verb = "would compute" if dry_run else "computed"
    for name, n in found.computed.items():
        print(f"{verb} {name} for {n} runs")
    if not found.computed:
        print("nothing to compute")
    if found.difference:
        share, name, key = found.difference
        line = (
            f"{found.compared} scores that were there, computed again: the largest difference is {share:.2g} "
            f"({name} of {key})"
        )
        say(line if share <= records.LARGE else f"{line}: more than float16 explains, the metric or the file changed")
    if found.without:
        again = "anova" if (folder / "design.json").is_file() else "bench"
        say(
            f"{len(found.without)} of {found.runs} runs have no features, so their scores stay as they are. Only "
            "running them again makes features: delete their records (litmus rescore "
            f"{board} --without-features | xargs rm), then run the board again (litmus {again} {folder.name})"
        )
    if found.changed and not dry_run:
        say(f"tables: litmus report {board}")
