"""A tidy frame -> the lines of a leaderboard and the small tables beside it: numbers and intervals, no formatting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.metrics import known
from bench.records.lost import told
from bench.records.record import MACHINE
from bench.study import Frame
from bench.study.stats import Interval, by_task, chance_better, estimate, pairs, rank_intervals, task_mean, tie_groups

COSTS = (
    "scalars_trainable",
    "scalars_stored",
    "scalars_active",
    "scalars_buffers",
    "scalars_reserved",
    "scalars_denoiser",
    "bytes_disk",
    "bytes_peak",
    "flops_step",
    "seconds_step",
    "steps_per_second",
    "images_per_second",
    "seconds_attach",
    "seconds_merge",
    "seconds_load",
    "seconds_total",
    "overhead_unmerged",
    "overhead_merged",
)
PLACE = ["machine", "workers", "threads"]  # what timings that are compared must share
NAN = Interval(math.nan, math.nan, math.nan, 0, 0)


@dataclass(frozen=True)
class Line:
    """One row of a leaderboard. `values` by score name; `costs` are medians over its runs, nan where not measured."""

    row: str
    method: str
    trained: bool
    lr: float
    objective: str
    rank: tuple[int, int] | None  # best and worst rank left open; None: not ranked
    ties: str  # letters shared with the rows that cannot be told apart
    values: dict[str, Interval]
    iqm: Interval  # of the headline
    better: Interval | None  # P(better than the reference row)
    p_better: float  # Holm's p of the difference to the reference row, over all pairs of the table
    costs: dict[str, float]
    tasks: int
    seeds: tuple[int, int]  # fewest and most seeds in a task
    runs: int
    failed: int
    flags: list[str]

    def get(self, name: str) -> Interval:
        return self.values.get(name, NAN)


@dataclass(frozen=True)
class Board:
    """The lines of one block of a board (`kind`: subject, style or all) in order, with the paired tests behind them."""

    kind: str
    lines: list[Line]
    pairs: Frame
    tasks: list[str]
    reference: str
    column: str  # the score that orders the rows: headline, or concept where no truth makes a headline
    notes: list[str] = field(default_factory=list)


def reference_row(frame: Frame, method: str = "lora") -> str:
    """The row that others are compared with: plain `lora`, else the `lora` row with most runs; "" if there is none."""
    rows = frame[frame["method"] == method]
    if rows.empty:
        return ""
    if (rows["row"] == method).any():
        return method
    counts = rows.groupby("row", sort=True).size()
    return str(counts.idxmax())


def scores_in(frame: Frame) -> list[str]:
    """Names of the raw scores of a tidy frame, in the order of its columns.

    A score that the first record lacks (truth has no KID with itself) stands behind the others: it counts where a table
    has a place for it.
    """
    names = list(frame.columns)
    inside, behind = names[names.index("failed") + 1 : names.index("machine")], names[names.index("machine") + 1 :]
    inside += [n for n in behind if (card := known(n)) and (card.table or "[" in n)]
    return [n for n in inside if n not in ("concept", "text_mismatch")]


def boards(frame: Frame) -> list[Board]:
    """The blocks of a board: subject and style each, then all; only one where there is one kind of task."""
    kinds = [k for k in ("subject", "style") if (frame["kind"] == k).any()]
    parts = [leaderboard(frame[frame["kind"] == kind], kind) for kind in kinds]
    return [*parts, leaderboard(frame, "all")] if len(kinds) > 1 else parts


def leaderboard(frame: Frame, kind: str = "all") -> Board:
    """Lines of one table: truth, truth_raw, the trained rows from best to worst, base.

    A row that misses a task of its rivals is shown below them and not ranked: its mean is over other tasks. Where only
    one row is left to rank because the machine ended runs of the others, there is no order and so no rank.
    """
    trained = frame[frame["trained"]]
    column = "headline" if trained["headline"].notna().any() else "concept"
    tasks = sorted(frame["task"].unique())
    scored = trained.dropna(subset=[column]).groupby("row")["task"].nunique()
    most = int(scored.max()) if len(scored) else 0
    mean = {row: task_mean(by_task(rows, column)) for row, rows in trained.groupby("row", sort=True)}
    order = sorted(mean, key=lambda r: (-scored.get(r, 0), -mean[r] if mean[r] == mean[r] else math.inf, r))
    ranked = [str(r) for r in order if most and scored.get(r, 0) == most]
    short = [r for r in map(str, order) if r not in ranked]
    if len(ranked) == 1 and trained.loc[trained["row"].isin(short), "status"].isin(MACHINE).any():
        ranked = []
    table = pairs(trained, ranked, column)
    ranks, ties = rank_intervals(ranked, table), tie_groups(ranked, table)
    reference = reference_row(trained)
    rows = [*(r for r in ("truth", "truth_raw") if (frame["row"] == r).any()), *map(str, order)]
    rows += ["base"] if (frame["row"] == "base").any() else []
    speed = speed_ratios(frame, reference)
    mixed = len(trained[PLACE].drop_duplicates()) > 1
    lines = []
    for row in rows:
        own = frame[frame["row"] == row]
        better = None
        if reference and row != reference and row in order:
            better = chance_better(trained, row, reference, column)
        line = _line(own, row, column, len(tasks), better)
        if mixed:  # timings of different machines never share a column
            line.costs.update({n: math.nan for n in line.costs if n.startswith("seconds_") or "per_second" in n})
        line.costs["step_ratio"] = speed.get(row, math.nan)
        extra = {"rank": ranks.get(row), "ties": ties.get(row, ""), "p_better": _p(table, row, reference)}
        lines.append(Line(**{**line.__dict__, **extra}))
    return Board(kind, lines, table, tasks, reference, column, _notes(frame, column, most, tasks))


def _line(own: Frame, row: str, column: str, tasks: int, better: Interval | None) -> Line:
    first = own.iloc[0]
    names = ["concept", *scores_in(own), "concept_norm", "follow_norm", "headline"]
    values = {n: estimate(by_task(own, n), name=f"{row}/{n}") for n in names}
    seeds = own.groupby("task")["seed"].nunique()
    costs = {n: float(own[n].median()) if own[n].notna().any() else math.nan for n in COSTS if n in own}
    reserved = costs.get("scalars_reserved", math.nan)
    used = costs.get("scalars_trainable", math.nan) - (0.0 if math.isnan(reserved) else reserved)  # none in old records
    costs["share"] = used / (costs.get("scalars_denoiser") or math.nan)
    line = Line(
        row=row,
        method=str(first["method"]),
        trained=bool(first["trained"]),
        lr=float(first["lr"]),
        objective=str(first["objective"]),
        rank=None,
        ties="",
        values=values,
        iqm=estimate(by_task(own, column), "iqm", f"{row}/iqm"),
        better=better if better and better.tasks else None,
        p_better=math.nan,
        costs=costs,
        tasks=len(seeds),
        seeds=(int(seeds.min()), int(seeds.max())),
        runs=len(own),
        failed=int(own["failed"].sum()),
        flags=_flags(own, tasks),
    )
    return line


def _flags(own: Frame, tasks: int) -> list[str]:
    """What a reader must know before reading the row's numbers."""
    flags = []
    met = own["task"].nunique()
    if met < tasks:
        flags.append(f"{met} of {tasks} tasks")
    for status, rows in own[own["failed"]].groupby("status", sort=True):
        flags.append(f"{told(str(status))} {len(rows)}/{len(own)}")
    if own["trained"].all():
        if int(own["copies"].sum()):
            flags.append(f"copies {int(own['copies'].sum())}/{len(own)}")
        if own.groupby("task")["seed"].nunique().max() == 1:
            flags.append("1 seed")
    return flags


def _p(table: Frame, row: str, other: str) -> float:
    pair = table[((table["a"] == row) & (table["b"] == other)) | ((table["a"] == other) & (table["b"] == row))]
    return float(pair["p_holm"].iloc[0]) if len(pair) else math.nan


def speed_ratios(frame: Frame, reference: str) -> dict[str, float]:
    """Row -> its median step time over the reference row's, both at the same place (PLACE); the median over places."""
    trained = frame[frame["trained"] & frame["seconds_step"].notna()]
    medians = trained.groupby([*PLACE, "row"])["seconds_step"].median().unstack()
    if reference not in medians:
        return {}
    ratios: Frame = medians.div(medians[reference], axis=0).median()
    return {str(row): float(x) for row, x in ratios.items() if x == x}


def _notes(frame: Frame, column: str, most: int, tasks: Sequence[str]) -> list[str]:
    notes = []
    if column != "headline":
        notes.append("no headline (no truth): rows are in the order of the raw concept score")
    if most == 1:
        notes.append("one task: no interval over tasks, no test, so every rank is open")
    elif most and most < 6:
        notes.append(f"{most} tasks: intervals and tests rest on few tasks; a sign-flip test cannot go below "
                     f"{2 / 2**most:.3g}")  # fmt: skip
    return [*notes, *_timed(frame[frame["trained"]])]


def _timed(trained: Frame) -> list[str]:
    """A note where runs were timed at several places: on several machines, or on one with other company."""
    machines = trained["machine"].nunique()
    if machines > 1:
        return [f"timed on {machines} machines: seconds are left out, ratios are within a machine"]
    counts = {name: sorted(map(int, trained[name].unique())) for name in PLACE[1:]}
    several = [f"{', '.join(map(str, n[:-1]))} and {n[-1]} {name}" for name, n in counts.items() if len(n) > 1]
    if not several:
        return []
    return [
        f"timed with {' and with '.join(several)} on one machine: seconds are left out, ratios are within the same "
        f"number of {' and '.join(name for name, n in counts.items() if len(n) > 1)}"
    ]


@dataclass(frozen=True)
class Spread:
    """One task: how far the seeds of one row scatter, beside what that row gains over the frozen base."""

    task: str
    kind: str
    seeds: int
    std: float  # over seeds, n - 1; of the raw concept score
    lift: float  # mean of the raw concept score minus the frozen base's, in the same blocks
    headline: float
    headline_std: float


def seed_spread(frame: Frame, row: str) -> list[Spread]:
    """Per task with at least two seeds of `row`; a lead smaller than `std` is noise."""
    out = []
    own, base = frame[(frame["row"] == row) & ~frame["failed"]], frame[frame["row"] == "base"]
    for (_, task), runs in own.groupby([own["kind"] != "subject", "task"], sort=True):  # subjects first
        if len(runs) < 2:
            continue
        both = runs.merge(base[["task", "seed", "concept"]], on=["task", "seed"], how="left", suffixes=("", "_base"))
        out.append(
            Spread(
                task=str(task),
                kind=str(runs["kind"].iloc[0]),
                seeds=len(runs),
                std=float(runs["concept"].std(ddof=1)),
                lift=float((both["concept"] - both["concept_base"]).mean()),
                headline=float(runs["headline"].mean()),
                headline_std=float(runs["headline"].std(ddof=1)),
            )
        )
    return out
