"""`litmus methods`: the methods, or one with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_file
from bench.commands.shared import method_names, print_table
from bench.core.errors import LitmusError
from bench.report.results import board_folder


def methods(
    name: Annotated[
        str | None, typer.Argument(autocompletion=method_names, help="one method, with its settings")
    ] = None,
    write: Annotated[Path | None, output_file("--write", help="write the page about all methods to this file")] = None,
    board: Annotated[
        str | None,
        typer.Option(help="with --write: the board (name or folder) whose scores and pictures the page shows"),
    ] = None,
) -> None:
    """List the methods, or show one with its hyperparameters.

    Examples:

    `litmus methods`

    `litmus methods lora`

    `litmus methods --write docs/methods.md --board zoo`
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

            shown = gallery.write(board_folder(board), write, [*zoo.builtin()])
        zoo.write(write, shown)
        print(write)
        return
    if name is None:
        print_table(*zoo.listing())
        print(f"\n{zoo.counted(METHODS)}")
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
    shown_facts = [f"{fact}: {zoo.yes(it)}" for fact, it in facts.items()]
    print(", ".join([*shown_facts, f"needs data: {zoo.yes(cls.needs_data)}", f"side: {cls.side}"]) + "\n")
    print_table(*zoo.settings(cls))
