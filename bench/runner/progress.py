"""What the user sees while runs go on: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bench.core.text import span
from bench.records.record import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def cell(run: Run) -> str:
    """One run in words: `lora[rank=8] lr 0.002 · pocket/subject-mug · seed 0`."""
    row = run.spec
    if run.lr is not None:
        row += f" lr {run.lr:g}"
    if run.objective not in ("", "plain"):
        row += f" {run.objective}"
    return f"{row} · {_short(run.task)} · seed {run.seed}"


def _short(task: str) -> str:
    """A task's name without the path and the words of a folder: `folder:/long/way/to/rex?class_word=dog` -> rex."""
    return Path(task.partition("?")[0]).name if task.startswith("folder:") else task


class Progress:
    """Counts, and prints nothing; the two others show what it counts."""

    def __init__(self, total: int, before: int = 0):
        self.total, self.done, self.failed = total, before, 0
        self.seconds_left: float | None = None
        self.now: dict[int, tuple[Run, str]] = {}  # worker -> run, where it stands

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def left(self, seconds: float | None) -> None:
        self.seconds_left = seconds

    def begins(self, worker: int, run: Run) -> None:
        self.now[worker] = run, "starting"

    def step(self, worker: int, phase: str, step: int, of: int, loss: float | None) -> None:
        at = f" {step}/{of}" if of else ""
        shown = f", loss {loss:.4f}" if loss is not None else ""
        if worker in self.now:
            self.now[worker] = self.now[worker][0], f"{phase}{at}{shown}"

    def ends(self, worker: int, run: Run, status: str, error: str, seconds: float) -> None:
        self.idle(worker)
        self.done += 1
        self.failed += status != "ok"

    def idle(self, worker: int) -> None:
        self.now.pop(worker, None)


class Lines(Progress):
    """One line per finished run, with the time left."""

    def __init__(self, total: int, before: int, out: TextIO):
        super().__init__(total, before)
        self.out = out

    def ends(self, worker: int, run: Run, status: str, error: str, seconds: float) -> None:
        super().ends(worker, run, status, error, seconds)
        line = f"[{self.done}/{self.total}] {status:8s} {cell(run)}  {seconds:.1f} s"
        if error:
            line += f"  {error}"
        if self.seconds_left is not None and self.done < self.total:
            line += f"  (about {span(self.seconds_left)} left)"
        print(line, file=self.out, flush=True)


class Live(Progress):
    """A table that stays in place: what each worker does, how much is done, how long it will take."""

    def __init__(self, total: int, before: int, console: Console):
        from rich.live import Live as Screen

        super().__init__(total, before)
        self.console = console
        self.began = time.monotonic()
        self.screen = Screen(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Live:
        self.screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.screen.stop()

    def ends(self, worker: int, run: Run, status: str, error: str, seconds: float) -> None:
        super().ends(worker, run, status, error, seconds)
        if status != "ok":
            self.console.print(f"{status}: {cell(run)}: {error}", style="yellow", markup=False, highlight=False)

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        for number, (run, where) in sorted(self.now.copy().items(), key=lambda item: item[0]):  # another thread draws
            table.add_row(Text(f"worker {number}", style="dim"), Text(cell(run)), Text(where, style="cyan"))
        head = f"{self.done}/{self.total} done"
        if self.failed:
            head += f", {self.failed} failed"
        took = f"{span(time.monotonic() - self.began)} so far, about {span(self.seconds_left)} left"
        table.add_row(Text(head, style="bold"), ProgressBar(self.total, self.done, width=40), Text(took))
        return table


def progress(total: int, before: int = 0) -> Progress:
    """The right one for where the output goes."""
    import sys

    from rich.console import Console

    console = Console(stderr=True)
    return Live(total, before, console) if console.is_terminal else Lines(total, before, sys.stderr)
