"""What commands share: how they print, names for the shell's completion, a board's plan and its report."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.bases.spec import on_the_hub
from bench.core.errors import LitmusError
from bench.core.text import span

if TYPE_CHECKING:
    from bench.checks.result import Result
    from bench.interop.adapters import Tuned
    from bench.protocol.models import Protocol
    from bench.runner.board import Board


def print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width to fit into
        console.width = 1000
    widths = fitting(header, rows, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, width in widths.items():
        table.add_column(header[i], overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(row[i]) for i in widths))
    console.print(table)
    if len(widths) < len(header):
        gone = ", ".join(name for i, name in enumerate(header) if i not in widths)
        console.print(
            Text(f"left out at {console.width} columns: {gone} (a wider terminal has them, or a pipe: | less -S)")
        )


PROSE = 24  # characters: longer cells are text, which may be folded to so many


def fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Column -> its width in characters, of the columns that a terminal of `width` has room for.

    The first stays always, and the last where it is text; the others go from the right. What is over is taken from the
    widest.
    """
    columns = [[header[i], *(row[i] for row in rows)] for i in range(len(header))]
    whole = [max(map(len, column)) for column in columns]
    text = [max(map(len, column[1:]), default=0) > PROSE for column in columns]
    word = [max(map(len, name.split()), default=0) for name in header]
    least = [max(word[i], PROSE if text[i] else max(map(len, columns[i][1:]), default=0)) for i in range(len(header))]
    least[0] = min(whole[0], max(least[0], width // 2))
    gap = 2
    keep = list(range(len(header)))
    while len(keep) > 2 and sum(least[i] + gap for i in keep) - gap > width:
        keep.remove(keep[-2] if text[keep[-1]] else keep[-1])
    widths = {i: whole[i] for i in keep}
    while sum(widths.values()) + gap * (len(keep) - 1) > width:
        spare = [i for i in keep if widths[i] > least[i]]
        if not spare:
            break
        widths[max(spare, key=lambda i: widths[i])] -= 1
    return widths


def print_results(results: Sequence[Result], what: str) -> None:
    """Print the outcomes of an examination (bench.checks.result.Result); exit code 1 where one failed.

    What they were tried on is a column where it is said of any.
    """
    on = any(r.network for r in results)
    rows = [[_outcome(r), r.method, *([r.network] if on else ()), r.name.replace("_", " "), r.message] for r in results]
    print_table(["", what, *(["on"] if on else ()), "check", ""], rows)
    if not all(r.ok for r in results):
        raise typer.Exit(1)


def _outcome(result: Result) -> str:
    return "skipped" if result.skipped else "ok" if result.ok else "FAILED"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


EVERY = 15.0  # seconds between two lines of progress where there is no terminal


@contextmanager
def counting(bases: Sequence[str], doing: str = "counting", what: str = "method") -> Iterator[Callable[[str], None]]:
    """A function to be called before each piece of work, which are on `bases` in this order: says where they stand.

    On standard error; in a terminal a bar with the time that is left, elsewhere a line for each base, "counting 3
    methods on sd15" (with `doing` and the singular `what`), and one now and then with the time that is left.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, each = Console(stderr=True), Counter(bases)
    if not console.is_terminal:
        said: set[str] = set()
        done, start = 0, time.monotonic()
        last = start

        def line(base: str) -> None:
            nonlocal done, last
            now = time.monotonic()
            if done and now - last >= EVERY:
                left = span((now - start) / done * (len(bases) - done))
                say(f"{doing}: {done} of {len(bases)}, about {left} left")
                last = now
            if base not in said:
                say(f"{doing} {each[base]} {what}{'s' * (each[base] > 1)} on {base}")
                last = now
            said.add(base)
            done += 1

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


# --- names for shell completion: cheap, so without torch ----------------------------------------------------------


def protocol_names() -> list[str]:
    from bench.protocol.models import protocol_names

    return protocol_names()


def task_names() -> list[str]:
    from bench.tasks import list_tasks

    return list_tasks()


def method_names() -> list[str]:
    """Cheap, so without torch: the names of files stand for methods."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    spec = find_spec("methods")
    places = (spec.submodule_search_locations or []) if spec else []
    files = [file.stem for place in places for file in Path(place).glob("[a-z]*.py")]
    return sorted(set(files) | {entry.name for entry in entry_points(group="litmus.methods")})


def board_word(folder: Path) -> str:
    """What to type for a board: its name where it lies among the results, else its folder."""
    from bench.core.paths import results

    return folder.name if folder.resolve().parent == results().resolve() else str(folder)


# --- boards -------------------------------------------------------------------------------------------------------


def surroundings(base: str | None, offline: bool) -> None:
    """Keep the hub's library from fetching, here and in worker processes; else tell the user what may take long."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return
    elif base is not None and on_the_hub(base):
        say(f"fetching what is not here yet of {base.partition('?')[0]}: the first time this may take long")


def rules_of(name: str, base: str | None) -> Protocol:
    """The protocol called `name`, on `base` where one is given: then under a name of its own."""
    from bench.protocol.models import load_protocol
    from bench.runner import single

    rules = load_protocol(name)
    if base is not None:
        rules = single.on(rules, base)
    surroundings(rules.base, False)
    return rules


def planned_board(
    protocol: Protocol,
    folder: Path | None,
    workers: int | None,
    retry: bool,
    device: str | None = None,
    save: bool = False,
) -> Board:
    """What the protocol still has to run, said in a line; LitmusError for a study. `save` as in board.plan."""
    from bench.runner import board

    if protocol.anova:
        raise LitmusError(f"{protocol.name} is a study: litmus anova {protocol.name} plans and runs it")
    if workers:
        limits = protocol.limits.model_copy(update={"workers": workers})
        protocol = protocol.model_copy(update={"limits": limits})
    planned = board.plan(protocol, folder, retry, device=device or "", save=save)
    for note in planned.notes:
        say(f"note: {note}")
    say(planned.headline())
    return planned


def finish(failed: list[str]) -> None:
    """Exit code 1 with one line per failed run."""
    for line in failed[:20]:
        say(line)
    if len(failed) > 20:
        say(f"... and {len(failed) - 20} more")
    if failed:
        raise typer.Exit(1)


def write_report(folder: Path, anew: bool = True, stored: Any = None) -> list[str]:
    """Print the leaderboards, write the files, say where they are; returns the lines about what could not be read.

    Without `anew` files are left as they are if they still say what the records say. `stored`: what was read of the
    folder, if nothing has changed since.
    """
    from rich.console import Console

    from bench import report
    from bench.report.material import gather

    material = gather(folder, stored)
    report.terminal(folder, Console(), material)
    written = (None if anew else report.kept(folder)) or report.write(folder, material)
    for path in written.paths:
        if path.suffix in (".md", ".csv", ".tex", ".html"):
            print(path)
    print(folder / "figures")
    return written.problems


# --- adapters' files ------------------------------------------------------------------------------------------------


def adapted(file: Path, base: str, any_base: bool, device: str | None) -> Tuned:
    """The base with the adapter on it."""
    from bench.bases import load_base
    from bench.interop.adapters import put

    return put(load_base(base, device=device or ""), file, any_base)


def base_of(file: Path, base: str | None, offline: bool) -> str:
    """The base to load, by what was given or the file says, with all set up for loading it."""
    if base is None:
        from bench.interop import saved

        base = saved.base_of(file)
        say(f"base: {base}")
    surroundings(base, offline)
    return base
