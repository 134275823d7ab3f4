"""A board: a protocol's runs and their records in one folder. Planned, run and counted here; imports no torch."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.errors import LitmusError
from bench.core.paths import results
from bench.core.settings import ALONE, Settings
from bench.core.text import span
from bench.protocol.models import PSEUDO, Protocol
from bench.records.about import remember
from bench.records.lost import remedy, told
from bench.records.provenance import cores
from bench.records.record import Record, Run, Stored, read_stored
from bench.runner.launch import COMMAND, LIMIT, Launcher, Stopped, lock, missing
from bench.runner.plan import Catalogue, expand
from bench.runner.progress import progress
from bench.runner.queue import Pace, Queue
from bench.runner.resolve import ask

Say = Callable[[str], None]
ON_A_GPU = 4  # workers: torch's context alone takes up to half a gigabyte of the card for each


@dataclass(frozen=True)
class Board:
    """A planned board: all its runs by key, those without a record, and the records it has."""

    protocol: Protocol
    folder: Path
    plan: dict[str, Run]
    todo: dict[str, Run]
    have: dict[str, Record]
    notes: tuple[str, ...] = ()
    settings: Settings = ALONE
    stored: Stored = field(default_factory=Stored)  # all that the folder held, whatever it belongs to
    away: tuple[str, ...] = ()  # of a dry plan: what must be fetched first; its keys are then nobody's
    limit: str = LIMIT  # what sets the seconds that a run may take, for the line about one that took longer

    @property
    def workers(self) -> int:
        """Processes side by side: by default one per core, on a GPU fewer, since each takes memory of it."""
        if self.protocol.limits.workers:
            return self.protocol.limits.workers
        return cores() if self.settings.device in ("", "cpu") else min(cores(), ON_A_GPU)

    def status(self, key: str) -> str:
        """The status of a run of the plan, "" for one that is still to be run."""
        return self.have[key].status if key in self.have else ""

    @property
    def unread(self) -> list[str]:
        """A line for each run of the plan whose record cannot be read: it is left as it is, and the run undone."""
        return [line for key, line in self.stored.unread.items() if key in self.plan]

    @property
    def again(self) -> dict[str, Record]:
        """The failed records of runs that are to be done again."""
        found = self.stored.records
        return {key: found[key] for key in self.todo if key in found and not found[key].ok}

    def headline(self) -> str:
        """`quick: 56 runs, 12 done, 44 to run on 2 workers (about 9 min)`."""
        if self.away:
            return f"{self.protocol.name}: {len(self.plan)} runs; which of them are done is known once all is here"
        line = f"{self.protocol.name}: {len(self.plan)} runs, {len(self.have)} done, {len(self.todo)} to run"
        if self.again:
            counts = Counter(record.status for record in self.again.values())
            line += f" (again: {', '.join(f'{n} {told(s)}' for s, n in counts.most_common())})"
        if self.unread:
            line += f", {len(self.unread)} that cannot be read"
        if not self.todo:
            return line
        seconds = Pace(list(self.have.values())).left(list(self.todo.values()), self.workers)
        line += f" on {min(self.workers, len(self.todo))} workers"
        return line + (f" (about {span(seconds)})" if seconds else "")


def plan(
    protocol: Protocol,
    folder: Path | None = None,
    retry_failed: bool = False,
    catalogue: Catalogue | None = None,
    device: str = "",
    stored: Stored | None = None,
    save: bool = False,
    dry: bool = False,
    tuned: bool = False,
) -> Board:
    """Look up what `protocol` names and compare it with the records in `folder` (default: results/<name>).

    `catalogue`, and `stored` of this folder, for a caller that has looked already. With `save` the notes say which
    formats of other tools cannot hold a method's adapter (see `saving`). With `dry` nothing is fetched: `away` says
    what would have to be. With `tuned` methods that are given no learning rate get the one that a sweep found.
    """
    folder = folder or results() / protocol.name
    catalogue = catalogue or ask(protocol, device, save, dry)
    if tuned:
        from bench.runner.tuned import with_rates

        catalogue = with_rates(protocol, catalogue)
    stored = stored or read_stored(folder)
    scores: dict[str, dict[float, float]] = {}
    while True:
        runs = expand(protocol, catalogue, scores)
        todo, have = missing(runs, stored, retry_failed)
        if scores == (scores := _searched(protocol, catalogue, runs, have)):  # nothing more to learn from the records
            settings = Settings(catalogue.device or device)
            return Board(protocol, folder, runs, todo, have, catalogue.notes, settings, stored, catalogue.away)


def _searched(
    protocol: Protocol, catalogue: Catalogue, runs: dict[str, Run], have: dict[str, Record]
) -> dict[str, dict[float, float]]:
    """The mean headline of each learning rate of a search that has a record in every block, by spec.

    A rate with a failed run stands below those that merely taught nothing, so that the search turns round there.
    """
    if not protocol.sweep or not protocol.sweep.around or not have:
        return {}
    from bench.study.frame import tidy
    from bench.study.tuning import choose

    open_ = {(run.spec, run.lr) for key, run in runs.items() if key not in have}
    trials = {
        choice.spec: {
            t.lr: -1.0 if t.failed else t.score.value
            for t in choice.trials
            if (choice.spec, t.lr) not in open_ and not t.lost and not math.isnan(t.score.value)
        }
        for choice in choose(tidy(list(have.values())).frame)
        if choice.objective == catalogue.objectives[protocol.objective].spec
    }
    return {spec: trials.get(catalogue.competitors[spec].spec, {}) for spec in protocol.sweep.around}


def saving(board: Board) -> Board:
    """The board whose runs keep their adapters (`litmus run --save`): those without one are to be done again."""
    lacking = {
        key: record.run
        for key, record in board.have.items()
        if record.ok and record.run.train and record.run.method not in PSEUDO and not _is_there(record, board.folder)
    }
    have = {key: record for key, record in board.have.items() if key not in lacking}
    return replace(board, todo=board.todo | lacking, have=have, settings=replace(board.settings, save=True))


def _is_there(record: Record, folder: Path) -> bool:
    name = record.files.get("adapter")
    return bool(name) and (folder / "runs" / name).is_file()


def run(board: Board, say: Say, command: tuple[str, ...] = COMMAND, queue: Queue | None = None) -> dict[str, Record]:
    """Do what is missing; returns the records of the whole plan. LitmusError when it was stopped or cannot write.

    `queue` holds what is missing in an order of its own.
    """
    with lock(board.folder):
        remember(board.folder, board.protocol)
        for part in (board.folder / "runs").glob(".*.part"):  # halves of files from a runner that was killed
            with contextlib.suppress(OSError):
                part.unlink()
        for fault in board.stored.faults:
            say(fault)
        if board.todo:
            _launch(board, command, queue)
    records = read_stored(board.folder).records if board.todo else board.have
    return {key: records[key] for key in board.plan if key in records}


def _launch(board: Board, command: tuple[str, ...], queue: Queue | None) -> None:
    with progress(len(board.plan), len(board.have)) as shown:
        launcher = Launcher(
            board.todo,
            board.folder,
            shown,
            timeout=board.protocol.limits.timeout,
            workers=board.workers,
            pace=Pace(list(board.have.values())),
            command=command,
            queue=queue,
            settings=board.settings,
            limit=board.limit,
        )
        try:
            launcher.run()
        except Stopped:
            raise LitmusError(
                f"stopped: {shown.done} of {len(board.plan)} runs are done and kept in {board.folder}; "
                "the same command goes on from there"
            ) from None


def by_row(board: Board) -> list[list[str]]:
    """A plan in words, one line per row of its table: method, lr, objective, tasks, seeds, runs, done."""
    groups: dict[tuple, list[str]] = {}
    for key, run in board.plan.items():
        groups.setdefault((run.spec, run.lr, run.objective), []).append(key)
    lines = []
    for (spec, lr, objective), keys in groups.items():
        runs = [board.plan[key] for key in keys]
        counts = [
            len({r.task for r in runs}),
            len({r.seed for r in runs}),
            len(runs),
            sum(k in board.have for k in keys),
        ]
        lines.append([spec, "" if lr is None else f"{lr:g}", objective, *map(str, counts)])
    return lines


def summary(board: Board, records: dict[str, Record]) -> str:
    """`quick: 56 runs: 55 ok, 1 diverged`."""
    counts = Counter(record.status for record in records.values())
    return f"{board.protocol.name}: {len(board.plan)} runs: " + ", ".join(f"{n} {s}" for s, n in counts.most_common())


def failures(records: dict[str, Record], tolerated: tuple[str, ...] = ()) -> list[str]:
    """One line for each run that did not end well, and what is to be done about those that the machine ended."""
    from bench.runner.progress import cell

    lines = [
        f"{record.status}: {cell(record.run)}: {record.error or 'no message'}"
        for record in records.values()
        if not record.ok and record.status not in tolerated
    ]
    lost = [record for record in records.values() if record.lost]
    return [*lines, *([remedy(lost)] if lost else [])]


def choices(records: list[Record]) -> tuple[list[str], list[list[str]], str]:
    """A sweep's answer: header and rows of the chosen learning rates, and the rule that chose them."""
    from bench.study.frame import tidy
    from bench.study.tuning import RULE, choose

    rows = []
    for choice in choose(tidy(records).frame):
        best = choice.best
        tried = " ".join(f"{t.lr:g}:{t.score.value:.3f}" + (f"({t.note})" if t.note else "") for t in choice.trials)
        edge = f"the {choice.edge} tried" if choice.edge else ""
        score = f"{best.score.value:.3f}" if best else "none was scored"
        rows.append([choice.spec, f"{choice.lr:g}", score, edge, tried])
    return ["method", "best lr", "headline", "at the edge", "tried (lr:headline)"], rows, RULE
