"""`litmus fetch`: bring pictures here, whole and verified."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.outputs import output_folder
from bench.commands.shared import say
from bench.core.errors import LitmusError

if TYPE_CHECKING:
    from bench.fetch.bundle import Bundle, Tally

fetch = typer.Typer(
    no_args_is_help=True,
    help="Download the pictures of tasks, verified, resumable.",
)
TO = Annotated[Path | None, output_folder("--to", help="another folder than the usual one", show_default=False)]
EVERY = 5.0  # seconds between two lines where there is no terminal


@fetch.command()
def dreambooth(
    only: Annotated[str | None, typer.Option(help="some subjects, separated by commas  [default: all 30]")] = None,
    source: Annotated[str | None, typer.Option(help="a clone of google/dreambooth, or another address of it")] = None,
    to: TO = None,
) -> None:
    """Fetch the 30 subjects of DreamBooth (112 MB).

    They come from google/dreambooth, at the commit that Litmus knows. Stop it at any time: the same command
    resumes it. No file is in place before all are verified.

    Examples:

    `litmus fetch dreambooth`

    `litmus fetch dreambooth --only dog6,backpack`

    `litmus fetch dreambooth --source /media/stick/dreambooth`
    """
    from bench.fetch import sources
    from bench.tasks import dreambooth as copy

    names = [name.strip() for name in only.split(",")] if only else []
    bundle, target = sources.dreambooth(source, names)
    target = (to or target).expanduser().absolute()
    _get(bundle, target)
    if copy.home().absolute() != target:
        say(f"note: set LITMUS_DREAMBOOTH={target}, so that litmus looks there")
    print(f"{len(names) or len(copy.classes(target))} subjects: litmus tasks --split test")


@fetch.command()
def styles(
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="a list of pictures (docs/tasks.md shows one)  [default: four paintings]"),
    ] = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="write the checksums that the list lacks, from the download")
    ] = False,
    to: TO = None,
) -> None:
    """Fetch the pictures of a list as style tasks.

    Each is fetched from its address and checked against its checksum.

    Examples:

    `litmus fetch styles`

    `litmus fetch styles --list prints.toml`

    `litmus fetch styles --list prints.toml --pin`
    """
    from bench.fetch import sources

    listed = listed or sources.PAINTINGS
    if pin:
        say(f"wrote {_pin(listed)} checksums into {listed}: look at the pictures before you trust them")
    bundle, target = sources.styles(listed)
    target = (to or target).expanduser().absolute()
    _get(bundle, target)
    for folder in sorted({item.path.partition("/")[0] for item in bundle.items}):
        print(f"{target.name}/{folder}" if to is None else f"folder:{target / folder}")


def _pin(listed: Path) -> int:
    """Receive every picture that has no checksum, write its checksum into the list; how many."""
    import tempfile
    import threading

    from bench.fetch import sources
    from bench.fetch.http import Refused, receive

    with tempfile.TemporaryDirectory() as folder:
        had = {}
        for style in sources.read_list(listed, pinned=False).style:
            for picture in (one for one in style.picture if not one.sha256):
                had[picture.url] = Path(folder) / str(len(had))
                try:
                    for _ in receive(picture.url, had[picture.url], picture.bytes, threading.Event()):
                        pass
                except Refused as error:
                    raise LitmusError(f"{error}: nothing was written into {listed}") from None
        return sources.pin(listed, had)


def _get(bundle: Bundle, target: Path) -> None:
    """Fetch with the progress shown; a stop by the user is a line and exit code 130."""
    from bench.fetch.bundle import fetch as get

    try:
        with _shown(bundle.name) as show:
            outcome = get(bundle, target, show)
    except KeyboardInterrupt:
        say("stopped: what was received is kept, the same command resumes it")
        raise typer.Exit(130) from None
    received = f"{outcome.received} files received, " if outcome.received else "nothing to receive, "
    print(f"{outcome.folder}: {received}{outcome.received + outcome.kept} verified")


@contextmanager
def _shown(name: str) -> Iterator[Callable[[Tally], None]]:
    """A bar in a terminal, a line every few seconds elsewhere; both with the time left."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[left]}"))
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(name, total=None, left="")

            def draw(tally: Tally) -> None:
                done = f"{tally.files_done}/{tally.files} files"
                bar.update(task, total=tally.bytes_all or None, completed=tally.bytes_done, left=done + _left(tally))

            yield draw
        return
    last = time.monotonic()

    def line(tally: Tally) -> None:
        nonlocal last
        if time.monotonic() - last < EVERY:
            return
        last = time.monotonic()
        amount = f"{tally.bytes_done / 1e6:.0f} of {tally.bytes_all / 1e6:.0f} MB, " if tally.bytes_all else ""
        print(f"{name}: {amount}{tally.files_done}/{tally.files} files{_left(tally)}", file=sys.stderr, flush=True)

    yield line


def _left(tally: Tally) -> str:
    from bench.core.text import span

    left = "" if tally.seconds_left is None else f", about {span(tally.seconds_left)} left"
    return f"{left}; {tally.trouble}, trying again" if tally.trouble else left
