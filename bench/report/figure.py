"""Figures of a board's scores and costs. Each takes ready numbers and returns a matplotlib Figure, or None if empty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.style import INK, SOFT, Look, figure, place_labels, readable, reference, settle, spread_apart, style
from bench.report.table import rank
from bench.report.value import number, rate, rough, size
from bench.study import Frame
from bench.study.frame import short
from bench.study.leaderboard import Board, Line
from bench.study.tuning import Choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Looks = Mapping[str, Look]


def shown(board: Board) -> list[Line]:
    """The trained rows with a value in the column that orders the board, best first; then those that miss tasks."""
    return [x for x in board.lines if x.trained and x.get(board.column).tasks]


def ranked(board: Board) -> list[Line]:
    """The same without those that miss tasks: only their means are over the same tasks."""
    return [x for x in shown(board) if x.rank]


def has_headline(board: Board) -> bool:
    """A headline exists, so that 0 is the base and 1 is truth."""
    return board.column == "headline" and bool(ranked(board))


def dot(ax: Axes, x: float, y: float, look: Look, size: float = 6.5, **more) -> None:
    ax.plot([x], [y], look.marker, color=look.colour, ms=size, mec="white", mew=0.8, zorder=5, **more)


def bar(ax: Axes, x: float, y: float, half: float, look: Look, axis: str) -> tuple[float, float, float, float]:
    """An interval through (x, y); returns its box in pixels."""
    dx, dy = (half, 0.0) if axis == "x" else (0.0, half)
    ax.plot([x - dx, x + dx], [y - dy, y + dy], color=look.colour, lw=1.3, alpha=0.75, zorder=3, solid_capstyle="butt")
    (a, b), (c, d) = ax.transData.transform([(x - dx, y - dy), (x + dx, y + dy)])
    return a - 2, b - 2, c + 2, d + 2


def scale(lines: Sequence[Line], name: str = "headline") -> tuple[float, float]:
    """Limits that show base (0), truth (1) and all means; an interval that is wider than that runs off the edge."""
    ends = [v for x in lines for v in (x.get(name).low, x.get(name).high) if math.isfinite(v)]
    means = [x.get(name).value for x in lines]
    low = min(-0.04, max(-0.1, min(ends, default=0.0)), *means)
    high = max(1.06, min(1.16, max(ends, default=1.0)), *(m + 0.04 for m in means))
    return low, high


# --- headline ------------------------------------------------------------------------------------------------------


def headline(board: Board, frame: Frame, looks: Looks) -> Figure | None:
    """One line per row: a faint mark per task, the mean with its interval, the ranks left open."""
    lines = shown(board)
    if not has_headline(board):
        return None
    with style():
        fig = figure(7.2, 0.9 + 0.34 * len(lines))
        ax = fig.subplots()
        right = {"xytext": (8, 0), "textcoords": "offset points", "annotation_clip": False}
        trained = frame[frame["row"].isin([x.row for x in lines])]
        means = trained.groupby(["row", "task", "kind"])["headline"].mean().reset_index()
        for i, line in enumerate(lines):
            own, look, seen = means[means["row"] == line.row], looks[line.row], line.get("headline")
            for kind, marker in (("subject", "o"), ("style", "s")):
                x = own.loc[own["kind"] == kind, "headline"]
                ax.plot(x, [i + 0.24] * len(x), marker, color=look.colour, ms=3.6, alpha=0.55, mew=0, zorder=2)
            if math.isfinite(seen.half):
                bar(ax, seen.value, i - 0.08, seen.half, look, "x")
            dot(ax, seen.value, i - 0.08, look)
            note = rank(line) if line.rank else f"{line.tasks} of {len(board.tasks)} tasks"
            ax.annotate(note, (1, i), xycoords=("axes fraction", "data"), va="center", **right)
        ax.annotate("rank", (1, 1), xycoords="axes fraction", color=SOFT, fontsize=7.5, **right)
        ax.set_yticks(range(len(lines)), [x.row for x in lines])
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.set_xlim(*scale(lines))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        reference(ax, 0, "frozen base", "x")
        reference(ax, 1, "truth (VAE)", "x")
        words = {"subject": "● subject", "style": "■ style"}
        kinds = ", ".join(words[k] for k in words if (means["kind"] == k).any())
        ax.set_xlabel(f"headline, mean and 95 % interval over tasks (small marks: single tasks, {kinds})")
        return fig


# --- per task ------------------------------------------------------------------------------------------------------


def tasks(board: Board, frame: Frame, looks: Looks) -> Figure | None:
    """A panel per task with a bar per row; dots are single seeds. Rows stand in the board's order in every panel."""
    lines, column = shown(board), board.column
    if not lines:
        return None
    kinds = frame.drop_duplicates("task").set_index("task")["kind"]
    order = sorted(board.tasks, key=lambda t: (kinds[t] != "subject", t))
    with style():
        across = min(4, len(order))
        down = -(-len(order) // across)
        fig = figure(max(3.6, 1.2 + 1.75 * across), 0.5 + down * (0.5 + 0.18 * len(lines)))
        axes = fig.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for i, (ax, task) in enumerate(zip(axes, order, strict=False)):
            _task(ax, lines, frame[frame["task"] == task], column, looks)
            ax.set_title(short(task), fontweight="normal", fontsize=8.5)
            ax.tick_params(axis="x", labelbottom=i + across >= len(order))
            ax.xaxis.set_major_formatter("{x:g}")
        for ax in axes[len(order) :]:
            ax.set_axis_off()
        text = "headline (0 = frozen base, 1 = truth; dots: seeds)" if column == "headline" else f"raw {column} score"
        fig.supxlabel(text, fontsize=8.5)
        return fig


def _task(ax: Axes, lines: Sequence[Line], frame: Frame, column: str, looks: Looks) -> None:
    """The bars of one task."""
    for i, line in enumerate(lines):
        own = frame[frame["row"] == line.row].dropna(subset=[column])
        if own.empty:
            continue
        ax.barh(i, own[column].mean(), height=0.68, color=looks[line.row].colour, alpha=0.88, lw=0)
        if len(own) > 1:
            ax.plot(own[column], [i] * len(own), "o", ms=2.6, color="white", mec=INK, mew=0.5, zorder=4)
        if own["failed"].all():
            note = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": 7, "color": SOFT}
            ax.annotate(str(own["status"].iloc[0]), (0, i), **note)
    ax.set_yticks(range(len(lines)), [x.row for x in lines])
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    if column == "headline":
        ax.axvline(1, color=SOFT, lw=0.8, ls=(0, (4, 3)))


# --- losses --------------------------------------------------------------------------------------------------------


def curves(losses: Frame, looks: Looks) -> Figure | None:
    """Loss over its value at step 0 (the frozen base), mean over blocks: training and held-out pictures.

    `losses` has columns row, step, train, heldout, the two already divided by their start (study.frame.losses).
    """
    panels = [
        (k, t) for k, t in (("train", "training pictures"), ("heldout", "held-out pictures")) if losses[k].notna().any()
    ]
    if not panels:
        return None
    means = losses.groupby(["row", "step"], sort=True)[["train", "heldout"]].mean()
    rows = [r for r in looks if r in means.index.get_level_values(0)]
    with style():
        fig = figure(3.8 * len(panels), 3.3)
        axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        last = losses["step"].max()
        for ax, (key, title) in zip(axes, panels, strict=True):
            for row in rows:
                line = means.loc[row][key].dropna()
                ax.plot(line.index, line, color=looks[row].colour, lw=1.5, zorder=3)
                ax.plot(
                    line.index[-1:],
                    line.iloc[-1:],
                    looks[row].marker,
                    color=looks[row].colour,
                    ms=5,
                    mec="white",
                    zorder=4,
                )
            ax.set_xlim(0, last * (1.2 + 0.022 * max(map(len, rows))))
            ax.set_xticks([x for x in ax.get_xticks() if x <= last])
            ax.set_title(title)
            ax.set_xlabel("optimiser steps")
            ax.grid(axis="y")
            ax.spines["bottom"].set_bounds(0, last)
        axes[0].set_ylabel("loss ÷ loss of the frozen base")
        settle(fig)
        for ax, (key, _) in zip(axes, panels, strict=True):
            ends = {row: means.loc[row][key].dropna() for row in rows}
            _name_ends(ax, {row: (x.index[-1], x.iloc[-1]) for row, x in ends.items() if len(x)}, looks)
        return fig


def _name_ends(ax: Axes, ends: Mapping[str, tuple[float, float]], looks: Looks) -> None:
    """Names of lines to the right of their last points, moved apart where they would overlap."""
    rows = list(ends)
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height / ax.get_figure().dpi * 72  # pyright: ignore[reportOptionalMemberAccess]
    gap = 10.5 * (high - low) / height
    for row, y in zip(rows, spread_apart([ends[r][1] for r in rows], gap, low + gap / 2, high - gap / 2), strict=True):
        x0, y0 = ends[row]
        right = x0 + 0.06 * ax.get_xlim()[1]
        ax.plot([x0, right], [y0, y], color=looks[row].colour, lw=0.6, alpha=0.7, zorder=2, scalex=False, scaley=False)
        name = {
            "xytext": (2, 0),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 8,
            "annotation_clip": False,
        }
        ax.annotate(row, (right, y), color=readable(looks[row].colour), **name)


# --- costs ---------------------------------------------------------------------------------------------------------

COSTS = (
    ("scalars_trainable", "trainable scalars", rough, True),
    ("bytes_disk", "bytes on disk", size, True),
    ("bytes_peak", "peak memory of a step", size, False),
    ("step_ratio", "step time ÷ lora's", lambda x: number(x) + "×", False),
    ("seconds_total", "seconds per run", lambda x: number(x, 0), False),
)


def costs(board: Board, looks: Looks) -> Figure | None:
    """A panel per cost; dots on stems, since a bar on a logarithmic axis has no true length."""
    lines = [x for x in board.lines if x.trained]
    panels = [c for c in COSTS if any(math.isfinite(x.costs.get(c[0], math.nan)) for x in lines)]
    if not panels:
        return None
    with style():
        fig = figure(1.3 + 1.55 * len(panels), 0.6 + 0.23 * len(lines))
        axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (key, title, form, log) in zip(axes, panels, strict=True):
            values = [x.costs.get(key, math.nan) for x in lines]
            known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
            low = min(known) / 2 if log else 0.0
            ax.set_xscale("log" if log else "linear")
            ax.set_xlim(low, (low * (max(known) / low) ** 1.75) if log else max(known) * 1.62)
            for i, (line, value) in enumerate(zip(lines, values, strict=True)):
                if not math.isfinite(value):
                    continue
                look = looks[line.row]
                ax.plot([low, value], [i, i], color=look.colour, lw=1.6, alpha=0.6, solid_capstyle="butt")
                dot(ax, value, i, look, 5.5)
                ax.annotate(
                    form(value), (value, i), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5
                )
            ax.set_title(title, fontsize=8.5, fontweight="normal")
            ax.set_yticks(range(len(lines)), [x.row for x in lines])
            ax.set_ylim(len(lines) - 0.5, -0.5)
            ax.tick_params(axis="both", length=0)
            ax.tick_params(axis="x", which="both", length=0, labelbottom=False)
            ax.spines["bottom"].set_visible(False)
        return fig


# --- learning rates ------------------------------------------------------------------------------------------------


def tuning(choices: Sequence[Choice], looks: Looks) -> Figure | None:
    """Headline against learning rate for each method; the chosen rate is ringed, failures stand at 0 as they count."""
    drawn = [c for c in choices if len(c.trials) > 1 and any(t.score.tasks for t in c.trials)]
    if not drawn:
        return None
    with style():
        fig = figure(5.6, 3.8)
        ax = fig.subplots()
        ax.set_xscale("log")
        for c in drawn:
            look = looks[c.name]
            xs, ys = [t.lr for t in c.trials], [t.score.value for t in c.trials]
            ax.plot(xs, ys, color=look.colour, lw=1.4, zorder=2)
            for t in c.trials:
                dot(ax, t.lr, t.score.value, look, 5)
            if c.best:
                ax.plot([c.lr], [c.best.score.value], "o", ms=11, mfc="none", mec=look.colour, mew=1.3, zorder=4)
        ax.set_xlabel("learning rate (ringed: chosen)")
        ax.set_ylabel("mean headline over tuning tasks")
        ax.grid(axis="y")
        ax.xaxis.set_major_formatter(lambda x, _: rate(x))
        ax.margins(x=0.12, y=0.12)
        settle(fig)
        tops = [max(c.trials, key=lambda t: t.score.value if t.score.tasks else -math.inf) for c in drawn]
        boxes = []
        for line in ax.lines:  # labels keep off lines, marks and rings
            spots = ax.transData.transform(line.get_xydata())
            reach = 4 if len(spots) > 1 else fig.dpi * line.get_markersize() / 72 / 2 + 1
            steps = [p + (q - p) * k / 12 for p, q in itertools.pairwise(spots) for k in range(13)] or list(spots)
            boxes += [(x - reach, y - reach, x + reach, y + reach) for x, y in steps]
        colours = [looks[c.name].colour for c in drawn]
        place_labels(ax, [(t.lr, t.score.value) for t in tops], [c.name for c in drawn], colours, boxes)
        return fig
