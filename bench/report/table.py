"""The leaderboard and the small tables beside it, as sheets; CSV with every column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.metrics import Metric, known, metric
from bench.report.sheet import DASH, Cell, Head, Sheet
from bench.report.value import counted, number, percent, plusminus, ranged, rate, rough, size
from bench.study.frame import short
from bench.study.leaderboard import Board, Line, Spread
from bench.study.stats import Interval
from bench.study.tuning import RULE, Choice

TITLES = {"subject": "Subjects", "style": "Styles", "all": "All tasks"}
NAMES = {"truth": "truth (VAE)", "truth_raw": "truth (raw)", "base": "frozen base"}


def name(line: Line) -> str:
    return NAMES.get(line.row, line.row)


def rank(line: Line) -> str:
    if not line.rank:
        return DASH
    low, high = line.rank
    return str(low) if low == high else f"{low}–{high}"


def units(line: Line) -> str:
    """`7×1`: tasks × seeds; `7×1–3` where tasks have different numbers of seeds."""
    few, many = line.seeds
    return f"{line.tasks}×{few}" if few == many else f"{line.tasks}×{few}–{many}"


# --- the leaderboard ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    head: Head
    cell: Callable[[Line], Cell]
    shown: Callable[[Board], bool] = lambda board: True


def _score(key: str, title: str, meaning: str, form=number, digits: int = 2, drop: int = 0) -> Column:
    def cell(line: Line) -> Cell:
        x = line.get(key)
        return Cell(form(x.value if form is number else x, digits), x.value)

    return Column(Head(title, meaning, drop=drop), cell, lambda b: any(x.get(key).tasks for x in b.lines if x.trained))


def _metric(key: str, card: Metric) -> Column:
    """The column of a metric, as its card has it; `key` is the score that stands in it."""
    return _score(key, card.heading, card.definition, digits=card.digits, drop=card.drop)


def metrics(board: Board, place: str) -> list[Column]:
    """Columns of the scores whose cards place them in this table: "main" or "details".

    Scores that a protocol asked for by name, with settings or from torchmetrics, stand among the details.
    """
    found = []
    for name in dict.fromkeys(key for line in board.lines for key in line.values):
        card = known(name)
        if card is None or (board.kind != "all" and board.kind not in card.kinds):
            continue
        asked = "[" in name
        if (card.table or ("details" if asked else "")) == place:
            shown = metric(CONCEPT[board.kind]) if name == "concept" and board.kind in CONCEPT else card
            found.append((card.order, name, _metric(name, shown)))
    return [column for _, _, column in sorted(found, key=lambda x: x[:2])]


def _cost(key: str, title: str, meaning: str, form: Callable[[float], str], drop: int = 0) -> Column:
    def cell(line: Line) -> Cell:
        x = line.costs.get(key, math.nan)
        return Cell(form(x), x)

    return Column(
        Head(title, meaning, drop=drop), cell, lambda b: any(math.isfinite(x.costs.get(key, math.nan)) for x in b.lines)
    )


RANK = Column(
    Head("rank", "best and worst place that the paired tests leave open (95 %, all rows at once)"),
    lambda x: Cell(rank(x), x.rank[0] + x.rank[1] / 1000 if x.rank else None),
    lambda b: any(x.rank for x in b.lines),
)
TIES = Column(
    Head("ties", "rows that share a letter cannot be told apart by the paired tests", False, drop=10),
    lambda x: Cell(x.ties),
    lambda b: any(x.ties for x in b.lines) and len(b.tasks) > 1,
)
METHOD = Column(
    Head(
        "method", "name with what differs from its defaults; truth (VAE): truth pictures through the base's VAE", False
    ),
    lambda x: Cell(name(x)),
)
RATE = Column(Head("lr", "learning rate", drop=5), lambda x: Cell(rate(x.lr), x.lr))
HEADLINE = _score("headline", "headline [95 %]", "concept × following, both normalised and cut to 0 ... 1", ranged)
COUNT = Column(Head("n", "tasks × seeds"), lambda x: Cell(units(x), x.runs))
FLAGS = Column(
    Head("flags", "what to know before reading the row", False, width=19, drop=3),
    lambda x: Cell(", ".join(x.flags)),
    lambda b: any(x.flags for x in b.lines),
)
TRAINABLE = Column(
    Head("trainable", "trainable scalars, and their share of the denoiser", drop=2),
    lambda x: Cell(
        counted(x.costs.get("scalars_trainable", math.nan))
        + (f" ({percent(x.costs['share'])})" if math.isfinite(x.costs.get("share", math.nan)) else ""),
        x.costs.get("scalars_trainable", math.nan),
        rough(x.costs.get("scalars_trainable", math.nan)),
    ),
    lambda b: any(math.isfinite(x.costs.get("scalars_trainable", math.nan)) for x in b.lines),
)
BETTER = Column(
    Head("P(better than lora)", "share of blocks in which the row beats the reference row, 95 % interval"),
    lambda x: Cell(ranged(x.better) if x.better else DASH, x.better.value if x.better else None),
    lambda b: any(x.better for x in b.lines),
)
CONCEPT = {"subject": "identity", "style": "style"}  # whose card the score `concept` shows on a board of one kind


def _times(x: float) -> Cell:
    return Cell(number(x) + ("×" if math.isfinite(x) else ""), x)


TIME = Column(
    Head("time ÷ lora", "median step time over that of the lora row, same machine", short="time", drop=8),
    lambda x: _times(x.costs.get("step_ratio", math.nan)),
    lambda b: any(math.isfinite(x.costs.get("step_ratio", math.nan)) for x in b.lines),
)


def main(board: Board) -> tuple[Column, ...]:
    """Columns of the leaderboard."""
    return (
        RANK, TIES, METHOD, RATE, HEADLINE,
        _score("concept_norm", "concept", "identity or style; 0 = frozen base, 1 = truth, VAE", plusminus, drop=4),
        _score("follow_norm", "follow", "text score; 0 = truth of other prompts, 1 = of its own", plusminus, drop=6),
        *metrics(board, "main"), TRAINABLE, TIME, COUNT, FLAGS,
    )  # fmt: skip


def more(board: Board) -> tuple[Column, ...]:
    """Columns of the second table: raw scores, side effects, cost."""
    return (
        METHOD, *metrics(board, "details"), BETTER,
        _cost("bytes_disk", "on disk", "bytes of the saved trainable state", size),
        _cost("bytes_peak", "peak MiB", "peak live tensor bytes of one training step", lambda x: number(x / 2**20, 0)),
        _cost("seconds_total", "cell s", "seconds of one run, all parts", lambda x: number(x, 0)),
    )  # fmt: skip


def _mark(line: Line) -> str:
    if line.trained:
        return "" if line.rank else "open"
    return "base" if line.row == "base" else "truth"


def _sheet(board: Board, columns: Sequence[Column], title: str, notes: Sequence[str] = ()) -> Sheet:
    shown = [c for c in columns if c.shown(board)]
    rows = [[_finite(c.cell(line)) for c in shown] for line in board.lines]
    return Sheet(title, [c.head for c in shown], rows, [_mark(line) for line in board.lines], list(notes))


def _finite(cell: Cell) -> Cell:
    return cell if cell.sort is None or math.isfinite(cell.sort) else Cell(cell.text, short=cell.short)


def main_sheet(board: Board) -> Sheet:
    """The leaderboard's main columns."""
    return _sheet(board, main(board), f"{TITLES[board.kind]} ({_n(len(board.tasks), 'task')})", board.notes)


def more_sheet(board: Board) -> Sheet:
    """Raw scores, side effects and cost of the same rows."""
    return _sheet(board, more(board), f"{TITLES[board.kind]}: raw scores, side effects and cost")


def _n(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


# --- the small tables ---------------------------------------------------------------------------------------------


def pair_sheet(board: Board) -> Sheet:
    """Every pair of ranked rows: paired difference and the three tests."""
    heads = [
        Head("pair", "first minus second", False),
        Head("difference [95 %]", f"of the {board.column}, paired in blocks"),
        Head("p t", "paired t test on task means"),
        Head("p flip", "sign-flip permutation test on task means"),
        Head("p Wilcoxon", "signed-rank test on task means"),
        Head("p Holm", "the t test's p, adjusted over all pairs"),
        Head("tasks", "tasks that both met"),
    ]
    rows = []
    for p in board.pairs.to_dict("records"):
        seen = Interval(p["difference"], p["low"], p["high"], int(p["tasks"]), 0)
        tests = [_finite(Cell(number(p[k], 3), p[k])) for k in ("p_t", "p_flip", "p_wilcoxon", "p_holm")]
        cells = [
            Cell(f"{p['a']} − {p['b']}"),
            Cell(ranged(seen, 3), seen.value),
            *tests,
            Cell(str(seen.tasks), seen.tasks),
        ]
        rows.append([_finite(c) for c in cells])
    return Sheet(f"{TITLES[board.kind]}: paired differences", heads, rows)


def spread_sheet(spreads: Sequence[Spread], row: str) -> Sheet:
    """Seed spread of one row beside its lift over the base, per task and pooled."""
    heads = [
        Head("task", "", False),
        Head("seeds"),
        Head("std over seeds", "of the raw concept score, n - 1", drop=1),
        Head("lift over base", "raw concept score minus the frozen base's, same blocks", drop=2),
        Head("lift ÷ std", "how many seed spreads the lift is"),
        Head("headline", "mean over seeds"),
        Head("headline std", "over seeds"),
    ]

    def cells(label: str, seeds: int, std: float, lift: float, score: float, score_std: float) -> list[Cell]:
        ratio = lift / std if std > 0 else math.nan
        numbers = ((std, 3), (lift, 3), (ratio, 1), (score, 2), (score_std, 3))
        return [Cell(label), Cell(str(seeds), seeds), *(_finite(Cell(number(x, d), x)) for x, d in numbers)]

    rows = [cells(short(s.task), s.seeds, s.std, s.lift, s.headline, s.headline_std) for s in spreads]
    if len(spreads) > 1:
        n = len(spreads)
        pooled = [math.sqrt(sum(getattr(s, k) ** 2 for s in spreads) / n) for k in ("std", "headline_std")]
        lift, score = (sum(getattr(s, k) for s in spreads) / n for k in ("lift", "headline"))
        rows.append(
            cells(f"pooled ({_n(n, 'task')})", sum(s.seeds for s in spreads), pooled[0], lift, score, pooled[1])
        )
    marks = [""] * len(spreads) + ["base"] * (len(spreads) > 1)
    return Sheet(
        f"Seed spread of {row}", heads, rows, marks, ["a lead between two rows below the seed spread is noise"]
    )


def tuning_sheet(choices: Sequence[Choice]) -> Sheet:
    """The chosen learning rate of each method, and the score of every rate that was tried."""
    heads = [
        Head("method", "", False),
        Head("chosen lr", RULE),
        Head("headline [95 %]", "at the chosen rate"),
        Head("tried", "lr: headline", False, width=30),
        Head("flags", "", False),
    ]
    rows = []
    for c in choices:
        tried = ", ".join(
            f"{rate(t.lr)}: {number(t.score.value)}" + (f" ({t.note})" if t.note else "") for t in c.trials
        )
        flags = [f"best is the {c.edge} rate tried: widen the range"] if c.edge in ("lowest", "highest") else []
        flags += ["one rate tried"] if c.edge == "only" else []
        flags += ["some rates miss blocks"] if not all(t.complete for t in c.trials) else []
        best = c.best.score if c.best else Interval(math.nan, math.nan, math.nan, 0, 0)
        cells = [
            Cell(c.name),
            Cell(rate(c.lr), c.lr),
            Cell(ranged(best), best.value),
            Cell(tried),
            Cell(", ".join(flags)),
        ]
        rows.append([_finite(x) for x in cells])
    return Sheet("Learning rates", heads, rows, notes=[f"rule: {RULE}"])


# --- CSV: every column --------------------------------------------------------------------------------------------


def to_csv(boards: Sequence[Board]) -> str:
    """All blocks of a board with all numbers, one line per row and block; empty where there is no value."""
    scores = list(dict.fromkeys(k for b in boards for x in b.lines for k in x.values))
    costs = list(dict.fromkeys(k for b in boards for x in b.lines for k in x.costs))
    head = ["tasks_of", "row", "method", "lr", "objective", "rank_best", "rank_worst", "ties", "tasks"]
    head += ["seeds_least", "seeds_most", "runs", "failed", "flags"]
    head += [f"{s}{end}" for s in ("headline_iqm", "better_than_reference", *scores) for end in ("", "_low", "_high")]
    head += ["p_holm_reference", *costs]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for board in boards:
        for x in board.lines:
            low, high = x.rank or ("", "")
            row = [
                board.kind,
                x.row,
                x.method,
                _plain(x.lr),
                x.objective,
                low,
                high,
                x.ties,
                x.tasks,
                *x.seeds,
                x.runs,
                x.failed,
            ]
            row.append("; ".join(x.flags))
            for seen in (x.iqm, x.better, *(x.get(s) for s in scores)):
                row += [_plain(seen.value), _plain(seen.low), _plain(seen.high)] if seen else ["", "", ""]
            writer.writerow([*row, _plain(x.p_better), *(_plain(x.costs.get(k, math.nan)) for k in costs)])
    return out.getvalue()


def _plain(x: float) -> str:
    return f"{x:.6g}" if math.isfinite(x) else ""
