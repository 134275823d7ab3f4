"""What the files of the command line share: how they print, and names for the shell's completion."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width to fit into
        console.width = 1000
    console.print(table)


def print_results(results: Sequence[Any], what: str) -> None:
    """Print the outcomes of an examination (bench.checks.result.Result); exit code 1 where one failed."""
    import typer

    rows = [["ok" if r.ok else "FAILED", r.method, r.name.replace("_", " "), r.message] for r in results]
    print_table(["", what, "check", ""], rows)
    if not all(r.ok for r in results):
        raise typer.Exit(1)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def counting(bases: Sequence[str], doing: str = "counting", what: str = "method") -> Iterator[Callable[[str], None]]:
    """A function to be called before each piece of work, which are on `bases` in this order: says where they stand.

    On standard error; in a terminal a bar with the time that is left, elsewhere a line for each base: "counting 3
    methods on sd15", with `doing` and the singular `what`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, each = Console(stderr=True), Counter(bases)
    if not console.is_terminal:
        said: set[str] = set()

        def line(base: str) -> None:
            if base not in said:
                say(f"{doing} {each[base]} {what}{'s' * (each[base] > 1)} on {base}")
            said.add(base)

        yield line
        return
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TextColumn("about"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(bases))
        begun = 0

        def move(base: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=f"{doing} on {base}")
            begun += 1

        yield move


def method_names() -> list[str]:
    """Cheap, so without torch: the names of files stand for methods."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    spec = find_spec("methods")
    places = (spec.submodule_search_locations or []) if spec else []
    files = [file.stem for place in places for file in Path(place).glob("[a-z]*.py")]
    return sorted(set(files) | {entry.name for entry in entry_points(group="litmus.methods")})


def board_names() -> list[str]:
    from bench.core.paths import results

    return sorted(folder.parent.name for folder in results().glob("*/runs"))


def board_folder(board: str) -> Path:
    """The folder of a board by its name, or by its path. LitmusError with the nearest name for any other."""
    from bench.core.errors import LitmusError, nearest
    from bench.core.paths import results

    folder = results() / board if (results() / board / "runs").is_dir() else Path(board)
    if not (folder / "runs").is_dir():
        raise LitmusError(nearest(board, board_names(), "board"))
    return folder


def board_word(folder: Path) -> str:
    """What to type for a board: its name where it lies among the results, else its folder."""
    from bench.core.paths import results

    return folder.name if folder.resolve().parent == results().resolve() else str(folder)
