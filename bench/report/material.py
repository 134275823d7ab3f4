"""Everything a report shows, gathered once from a board's records: sheets, figures and facts in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError, nearest
from bench.core.style import COLOURS, Look, looks, style, visible
from bench.protocol.models import UNTRAINED
from bench.records.about import about
from bench.records.record import Record, Stored, read_stored
from bench.report import table
from bench.report.sheet import Sheet
from bench.study import Frame
from bench.study.frame import Tidy, comparable, losses, short, tidy
from bench.study.leaderboard import Board, Spread, boards, seed_spread
from bench.study.tuning import Choice, choose, swept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.report.grid import Samples

OPTIMISTIC = "learning rates were chosen on these very tasks, so the scores are optimistic: test tasks decide"


NAMED = tuple(table.NAMES.values())  # rows of a grid that are set apart
BEST = 5  # rows of a big board that stand out for their place; the five best-known methods do so too


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (no ending), title and caption; of a grid also its pictures, row by row."""

    name: str
    figure: Figure
    title: str
    caption: str
    rows: Mapping[str, Samples] = field(default_factory=dict)


@dataclass(frozen=True)
class Material:
    """`records` are the comparable ones; `problems` the lines about files that could not be read."""

    name: str
    folder: Path
    records: list[Record]
    tidy: Tidy
    boards: list[Board]
    choices: list[Choice]  # of a sweep; else empty
    problems: list[str] = field(default_factory=list)
    rows: tuple[str, ...] = ()  # what figures are to show, in this order; (): all
    highlight: tuple[str, ...] = ()  # what is to stand out where there are many; (): the best and the best-known

    @property
    def whole(self) -> Board:
        """The block of all tasks."""
        return self.boards[-1]

    def block(self, kind: str | None) -> Board:
        """The block of one kind of task, or of all (None). LitmusError if the board has no such tasks."""
        if kind is None:
            return self.whole
        if kind not in ("subject", "style"):
            raise LitmusError(nearest(kind, ("subject", "style"), "kind of task"))
        found = [b for b in self.boards if b.kind == kind]
        if not found:
            raise LitmusError(f"{self.name} has no tasks of the kind {kind}")
        return self.drawn(found[0])

    def drawn(self, board: Board) -> Board:
        """A block as figures show it: with the asked rows only."""
        if not self.rows:
            return board
        lines = {x.row: x for x in board.lines}
        rest = [x for x in board.lines if not x.trained]
        return replace(board, lines=[*(lines[r] for r in self.rows if r in lines and lines[r].trained), *rest])

    def only(self, rows: Sequence[str] = (), highlight: Sequence[str] = ()) -> Material:
        """The same numbers, of which figures show `rows` in this order and let `highlight` stand out.

        LitmusError with the nearest name for a row that is not there.
        """
        known = [x.row for x in self.whole.lines if x.trained]
        for row in (*rows, *highlight):
            if row not in known:
                raise LitmusError(nearest(row, known, "row"))
        return replace(self, rows=tuple(dict.fromkeys(rows)), highlight=tuple(highlight))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """One look per row that figures show, in their order; up to FEW rows none is faint."""
        from bench.report.figure import FEW

        every = [x for x in self.whole.lines if x.trained]
        best = [x.row for x in every if x.rank][:BEST]
        known = [x.row for x in every if x.row in COLOURS or x.row == self.whole.reference]
        out = set(self.highlight or [*best, *known])
        found = looks(((x.row, x.method) for x in every), [x.method for x in every if x.row in out])
        shown = self.rows or [x.row for x in every]
        if self.rows and not self.highlight:
            out = set(self.rows)
        full = len(shown) > FEW or bool(self.highlight)
        return {row: replace(found[row], faint=full and row not in out) for row in shown}

    @property
    def spreads(self) -> list[Spread]:
        return seed_spread(self.tidy.frame, self.whole.reference) if self.whole.reference else []

    @property
    def title(self) -> str:
        """The protocol's title, "" where none is known."""
        return about(self.folder).title

    @property
    def heading(self) -> str:
        """`quick: five methods on two subjects and two styles`."""
        return f"{self.name}: {self.title}" if self.title else self.name

    @property
    def summary(self) -> str:
        """`protocol 1, base pocket: 7 tasks, 93 runs`."""
        run = self.records[0].run
        return f"protocol {run.protocol}, base {run.base}: {len(self.whole.tasks)} tasks, {len(self.records)} runs"

    @property
    def warnings(self) -> list[str]:
        """What a reader must know, with the records' own notes, each once."""
        notes = Counter(note for r in self.records for note in r.notes)
        told = [f"{note} ({n} runs)" if n > 1 else note for note, n in notes.most_common(8)]
        return [*([OPTIMISTIC] if self.choices else []), *self.tidy.warnings, *told]

    @property
    def sheets(self) -> list[Sheet]:
        """The small tables below the leaderboards."""
        out = [table.tuning_sheet(self.choices)] if self.choices else []
        if self.spreads:
            out.append(table.spread_sheet(self.spreads, self.whole.reference))
        return out


def gather(folder: Path, stored: Stored | None = None) -> Material:
    """Read a board's folder, or take what was read of it. LitmusError if there is no record that can be read."""
    stored = stored or read_stored(folder)
    records, problems = list(stored.records.values()), stored.faults
    if not records:
        more = f" ({len(problems)} files that are no records; the first: {problems[0]})" if problems else ""
        raise LitmusError(f"no records in {folder / 'runs'}: run litmus bench first{more}")
    return of(folder.name, folder, records, problems)


def of(name: str, folder: Path, records: Sequence[Record], problems: Sequence[str] = ()) -> Material:
    """The material of `records`; of a sweep only the chosen learning rates stand on the leaderboard."""
    seen = tidy(records)
    choices: list[Choice] = []
    frame = seen.frame
    if swept(frame):
        choices = choose(frame)
        frame = _chosen(frame, choices)
    kept = comparable(records)[0]
    return Material(name, folder, kept, Tidy(frame, seen.warnings), boards(frame), choices, list(problems))


def _chosen(frame: Frame, choices: Sequence[Choice]) -> Frame:
    """The untrained rows and those of the chosen rates, under their plain names."""
    import pandas as pd

    parts = [frame[~frame["trained"]]]
    for c in choices:
        own = frame[
            frame["trained"] & (frame["spec"] == c.spec) & (frame["objective"] == c.objective) & (frame["lr"] == c.lr)
        ]
        parts.append(own.assign(row=c.name))
    return pd.concat(parts, ignore_index=True)


# --- figures ------------------------------------------------------------------------------------------------------


FIGURES = ("headline", "front", "tradeoff", "tasks", "curves", "costs", "tuning")


def drawings(
    m: Material, theme: str = "light", only: Sequence[str] = FIGURES, kind: str | None = None
) -> list[Drawing]:
    """The board's figures in reading order, `light` or `dark`; what has no data is left out.

    With a `kind` of task each shows that block alone.
    """
    from bench.report import curves, figure, front

    frame, board = m.tidy.frame, m.drawn(m.block(kind))
    blocks = [m.drawn(b) for b in m.boards] if kind is None else [board]

    with style(theme):
        look = visible(m.looks)
        made = {
            "headline": (lambda: figure.headline(board, frame, look), "Headline",
             "Mean over tasks with its 95 % interval; each small mark is one task (seeds averaged). Rank: the places "
             "that paired tests leave open, for all rows at once."),
            "front": (lambda: front.front(blocks, look), "Headline against size",
             "Headline against trainable scalars, with the 95 % interval over tasks. The step is the Pareto front of "
             "the means; an interval wider than the picture runs off its edge. A ring is a row below another mark."),
            "tradeoff": (lambda: front.tradeoff(board, look),
             "What the headline is made of, and what it costs the base",
             "Left: the two factors of the headline. Right: headline against the drift of unrelated prompts (left and "
             "up is better)."),
            "tasks": (lambda: figure.tasks(board, frame, look), "Score per task",
             "Mean over seeds; dots are single seeds."),
            "curves": (lambda: curves.curves(comparable_losses(m, board), look), "Losses",
             "Loss on a fixed table of pictures, timesteps and noise, divided by the frozen base's; mean over blocks."),
            "costs": (lambda: figure.costs(board, look), "Costs",
             "Medians over runs; scalars and bytes on disk on logarithmic scales. Step times are compared on one "
             "machine."),
            "tuning": (lambda: curves.tuning([c for c in m.choices if c.name in look], look), "Learning rates",
             "Mean headline over the tuning tasks; failed runs count as 0; a ring marks the chosen rate."),
        }  # fmt: skip
        out = []
        for name in only:
            draw, title, caption = made[name]
            fig = draw()
            if fig is not None:
                few = " Of many rows a few stand out: the best and the best-known." if _many(m) else ""
                out.append(Drawing(name, fig, title, caption + few))
        return out


def comparable_losses(m: Material, board: Board) -> Frame:
    """The losses (study.frame.losses) on a block's tasks of the rows that ran on all of them; none of a sweep."""
    from bench.report import figure

    table = losses(m.records)
    ranked = {x.row for x in figure.ranked(board)} or {x.row for x in board.lines}
    return table[table["row"].isin(ranked) & table["task"].isin(board.tasks) & (not m.choices)]


def left_out(m: Material, board: Board) -> list[str]:
    """A line for each row that was asked for, but that figures of means do not show beside the others."""
    few = [x for x in board.lines if x.row in m.rows and not x.rank]
    tasks = len(board.tasks)
    missing = [row for row in m.rows if row not in {x.row for x in board.lines}]
    return [
        *(f"{x.row} ran on {x.tasks} of {tasks} tasks: no figure of means shows it beside the others" for x in few),
        *(f"{row} has no run on tasks of the kind {board.kind}" for row in missing),
    ]


def _many(m: Material) -> bool:
    return any(look.faint for look in m.looks.values())


def grids(m: Material, theme: str = "light", task: str | None = None) -> tuple[list[Drawing], list[str]]:
    """A sample grid per task, of the lowest seed that most rows have, and a line for each picture that is missing.

    Of a big board it shows the rows that stand out. `task` asks for one alone, by its name or the last part of it.
    """
    from bench.report import grid

    out, problems = [], []
    for one in tasks_of(m, task):
        rows, seed, lines = samples(m, one)
        problems += lines
        with style(theme):
            fig = grid.compose(rows, NAMED)
        if fig is not None:
            caption = f"Seed {seed}; every row has the same prompts and the same noise (truth is drawn by the world)."
            if _many(m):
                caption += f" {sum(r not in NAMED for r in rows)} of {len(m.looks)} rows."
            out.append(Drawing(f"grid-{_file(short(one))}", fig, short(one), caption, rows))
    return out, problems


def tasks_of(m: Material, task: str | None = None) -> list[str]:
    """The board's tasks, subjects first, or the one that is called `task` in full or by the last part of its name."""
    kinds = m.tidy.frame.drop_duplicates("task").set_index("task")["kind"]
    every = sorted(m.whole.tasks, key=lambda t: (kinds[t] != "subject", t))
    found = [t for t in every if task in (None, t, short(t))]
    if not found:
        raise LitmusError(nearest(str(task), map(short, every), "task of this board"))
    return found


def samples(m: Material, task: str) -> tuple[dict[str, Samples], int, list[str]]:
    """The pictures of one task by the names of rows, their seed, and a line for each file that cannot be used."""
    from bench.report import grid

    by_key = {r.key: r for r in m.records}
    frame = m.tidy.frame
    own = frame[(frame["task"] == task) & ~frame["failed"]]
    shown = [row for row, look in m.looks.items() if not look.faint]
    trained = own[own["trained"] & own["row"].isin(shown)]
    if trained.empty:
        return {}, 0, []
    counts = trained.groupby("seed", sort=True)["row"].nunique()
    seed = int(counts.index[counts.to_numpy().argmax()])
    rows: dict[str, Samples] = {}
    problems = []
    for row in ("truth", "base", *shown):
        mine = own[own["row"] == row]
        mine = mine[mine["seed"] == seed] if row not in UNTRAINED or (mine["seed"] == seed).any() else mine
        if mine.empty:
            continue
        got = grid.read(by_key[str(mine["key"].iloc[0])], m.folder / "runs")
        if isinstance(got, str):
            problems += [got] if got else []
        else:
            rows[table.NAMES.get(row, row)] = got
    return rows, seed, problems


def _file(name: str) -> str:
    """`name` as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
