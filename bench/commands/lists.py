"""`litmus methods`, `params`, `tasks`, `metrics`, `protocols`, `check-method`: what there is, and whether it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.shared import board_folder, method_names, print_table, say
from bench.core.errors import LitmusError

if TYPE_CHECKING:
    from bench.checks.contract import Result


def add_to(app: typer.Typer) -> None:
    """Put these commands into `app`."""
    for name, command in (
        ("methods", methods),
        ("params", params),
        ("tasks", tasks),
        ("metrics", metrics),
        ("protocols", protocols),
        ("check-method", check_method),
    ):
        app.command(name)(command)


def methods(
    name: Annotated[
        str | None, typer.Argument(autocompletion=method_names, help="one method, with its settings")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="write the page about all methods to this file")] = None,
    board: Annotated[
        str | None,
        typer.Option(help="with --write: the board (name or folder) whose scores and pictures the page shows"),
    ] = None,
) -> None:
    """List the methods, or one method's hyperparameters.

    Examples: `litmus methods` · `litmus methods lora` · `litmus methods --write docs/methods.md --board zoo`
    """
    from bench.core.errors import nearest
    from bench.listings import methods as zoo
    from bench.method import METHODS, load_plugins

    load_plugins()
    if board is not None and write is None:
        raise LitmusError("--board goes with --write FILE: which page shall show the board's pictures?")
    if write is not None:
        shown = ""
        if board is not None:
            from bench.report import gallery

            shown = gallery.write(board_folder(board), write, [*zoo.own()])
        zoo.write(write, shown)
        print(write)
        return
    if name is None:
        print_table(*zoo.listing())
        if gone := zoo.unavailable():
            print("\nlooked at, and not here:")
            print_table(["name", "reason"], [[key, reason] for key, reason in gone.items()])
        return
    if name in (gone := zoo.unavailable()) and name not in METHODS:
        raise LitmusError(f"{name} is no method here: {gone[name]}")
    if name not in METHODS:
        raise LitmusError(nearest(name, METHODS, "method"))
    cls = METHODS[name]
    one = cls()
    print(f"{name}: {zoo.first(cls)}\n{cls.paper}")
    if cls.formula:
        print(cls.formula)
    facts = {"mergeable": one.mergeable, "packable": one.packable, "exact start": one.exact_start}
    said = [f"{fact}: {zoo.yes(it)}" for fact, it in facts.items()]
    print(", ".join([*said, f"needs data: {zoo.yes(cls.needs_data)}", f"side: {cls.side}"]) + "\n")
    print_table(*zoo.settings(cls))


def params(
    methods: Annotated[str | None, typer.Option(help="methods, parted by commas  [default: all]")] = None,
    bases: Annotated[str | None, typer.Option(help="bases, parted by commas  [default: all]")] = None,
    share: Annotated[str | None, typer.Option(help="set sizes to these shares of the denoiser: 0.05%,0.2%")] = None,
    form: Annotated[str, typer.Option("--format", help="table, md, csv or json")] = "table",
) -> None:
    """Count what each method trains on published denoisers, from their shapes alone: scalars, share, bytes stored.

    Examples: `litmus params` · `litmus params --methods lora,lora[rank=8] --bases sd15,sdxl` ·
    `litmus params --methods lora,adapter --share 0.05%,0.2% --format csv`
    """
    from bench.core.errors import nearest
    from bench.core.text import refusals, share_of, split
    from bench.listings import params as counts

    if form not in counts.FORMATS:
        raise LitmusError(nearest(form, dict.fromkeys(counts.FORMATS), "format"))
    found = counts.rows(split(methods), split(bases), [share_of(s) for s in split(share)])
    if form == "table":
        print_table(*counts.wide(found))
    else:
        print(counts.written(found, form))
    for line in refusals(found):
        say(line)


def tasks(
    split: Annotated[str | None, typer.Option(help="tuning, test or user")] = None,
) -> None:
    """List the tasks that are there. A folder of pictures is a task too: folder:PATH (see `litmus run --help`)."""
    from bench.tasks import list_tasks

    for name in list_tasks(split):
        print(name)


def metrics(name: Annotated[str | None, typer.Argument(help="one metric, with its whole card")] = None) -> None:
    """List the scores: what each measures, its range and which way is better."""
    from bench.metrics import METRICS, metric

    shown = [metric(name)] if name else METRICS.values()
    print_table(
        ["metric", "better", "range", "what it measures"],
        [
            [m.name, "higher" if m.higher_is_better else "lower", f"{m.bounds[0]} to {m.bounds[1]}", m.definition]
            for m in shown
        ],
    )


def protocols() -> None:
    """List the protocols that come with Litmus."""
    from bench.protocol.models import load_protocol, protocol_names

    found = [load_protocol(name) for name in protocol_names()]
    print_table(
        ["protocol", "base", "tasks", "methods", "about"],
        [[p.name, p.base, str(len(p.tasks)), str(len(p.methods)), p.title] for p in found],
    )


def check_method(
    file: Annotated[str, typer.Argument(help="a Python file with a registered method, or an installed method's name")],
) -> None:
    """Examine your own method: the same checks that every method of Litmus must pass.

    Examples: `litmus check-method my_method.py` · `litmus check-method mine`
    """
    from bench.checks.contract import check_file, examine
    from bench.method import METHODS, load_plugins, make

    load_plugins()
    results = examine(make(file)) if file in METHODS else check_file(file)
    print_table(
        ["", "method", "on", "check", ""],
        [[_outcome(r), r.method, r.place, r.name.replace("_", " "), r.message] for r in results],
    )
    if not all(r.ok for r in results):
        raise typer.Exit(1)


def _outcome(result: Result) -> str:
    return "skipped" if result.skipped else "ok" if result.ok else "FAILED"
