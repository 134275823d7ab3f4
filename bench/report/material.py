"""Everything a report shows, gathered once from a board's records: sheets, figures and facts in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError
from bench.core.style import Look, looks
from bench.protocol.models import UNTRAINED
from bench.records.record import Record, Stored, read_stored
from bench.report import table
from bench.report.sheet import Sheet
from bench.study import Frame
from bench.study.frame import Tidy, comparable, losses, short, tidy
from bench.study.leaderboard import Board, Spread, boards, seed_spread
from bench.study.tuning import Choice, choose, swept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMISTIC = "learning rates were chosen on these very tasks, so the scores are optimistic: test tasks decide"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (no ending), title and caption."""

    name: str
    figure: Figure
    title: str
    caption: str


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

    @property
    def whole(self) -> Board:
        """The block of all tasks."""
        return self.boards[-1]

    @cached_property
    def looks(self) -> dict[str, Look]:
        """One look per row, in the order of the board."""
        found = looks((x.row, x.method) for x in self.whole.lines if x.trained)
        return {x.row: found[x.row] for x in self.whole.lines if x.trained}

    @property
    def spreads(self) -> list[Spread]:
        return seed_spread(self.tidy.frame, self.whole.reference) if self.whole.reference else []

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


def drawings(m: Material) -> list[Drawing]:
    """The board's figures in reading order; what has no data is left out."""
    from bench.report import figure, front

    frame, board = m.tidy.frame, m.whole
    ranked = {x.row for x in figure.ranked(board)} or set(m.looks)
    curves = losses(m.records)
    if m.choices:
        curves = curves.iloc[:0]
    else:
        curves = curves[curves["row"].isin(ranked)]
    made = [
        ("headline", figure.headline(board, frame, m.looks), "Headline",
         "Mean over tasks with its 95 % interval; each small mark is one task (seeds averaged). Rank: the places that "
         "paired tests leave open, for all rows at once."),
        ("front", front.front(m.boards, m.looks), "Headline against size",
         "Headline against trainable scalars, with the 95 % interval over tasks. The step is the Pareto front of the "
         "means; an interval wider than the picture runs off its edge."),
        ("tradeoff", front.tradeoff(board, m.looks), "What the headline is made of, and what it costs the base",
         "Left: the two factors of the headline. Right: headline against the drift of unrelated prompts (left and up "
         "is better)."),
        ("tasks", figure.tasks(board, frame, m.looks), "Score per task", "Mean over seeds; dots are single seeds."),
        ("curves", figure.curves(curves, m.looks), "Losses",
         "Loss on a fixed table of pictures, timesteps and noise, divided by the frozen base's; mean over blocks."),
        ("costs", figure.costs(board, m.looks), "Costs",
         "Medians over runs; scalars and bytes on disk on logarithmic scales. Step times are compared on one machine."),
        ("tuning", figure.tuning(m.choices, m.looks), "Learning rates",
         "Mean headline over the tuning tasks; failed runs count as 0; a ring marks the chosen rate."),
    ]  # fmt: skip
    return [Drawing(name, fig, title, caption) for name, fig, title, caption in made if fig is not None]


def grids(m: Material) -> tuple[list[Drawing], list[str]]:
    """A sample grid per task, of the lowest seed that most rows have, and a line for each picture that is missing."""
    from bench.report import grid

    frame = m.tidy.frame
    by_key = {r.key: r for r in m.records}
    order = ["truth", "base", *(x.row for x in m.whole.lines if x.trained)]
    names = {row: table.NAMES[row] for row in ("truth", "base")}
    out, problems = [], []
    kinds = frame.drop_duplicates("task").set_index("task")["kind"]
    for task in sorted(m.whole.tasks, key=lambda t: (kinds[t] != "subject", t)):
        own = frame[(frame["task"] == task) & ~frame["failed"]]
        trained = own[own["trained"]]
        if trained.empty:
            continue
        counts = trained.groupby("seed", sort=True)["row"].nunique()
        seed = int(counts.index[counts.to_numpy().argmax()])
        rows = {}
        for row in order:
            mine = own[own["row"] == row]
            mine = mine[mine["seed"] == seed] if row not in UNTRAINED or (mine["seed"] == seed).any() else mine
            if mine.empty:
                continue
            got = grid.read(by_key[str(mine["key"].iloc[0])], m.folder / "runs")
            if isinstance(got, str):
                problems += [got] if got else []
            else:
                rows[names.get(row, row)] = got
        fig = grid.compose(rows, tuple(names.values()))
        if fig is not None:
            caption = f"Seed {seed}; every row has the same prompts and the same noise (truth is drawn by the world)."
            out.append(Drawing(f"grid-{_file(short(task))}", fig, short(task), caption))
    return out, problems


def _file(name: str) -> str:
    """`name` as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
