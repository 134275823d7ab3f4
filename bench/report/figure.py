"""Figures of a board's scores and costs row by row: the ladder of headlines, single tasks, costs.

A function that ends in `_on` draws into one given axes; the others lay out a Figure of the report from these, and
return None where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.style import Look, figure, panels, reference, theme
from bench.report.table import rank
from bench.report.value import number, rough, size
from bench.study import Frame
from bench.study.frame import short
from bench.study.leaderboard import Board, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Looks = Mapping[str, Look]
FEW = (
    12  # rows up to which every figure names all; with more a few stand out (`Look.faint` is false) and the rest recede
)
DENSE = 26  # rows from which single tasks are a map of colours
MOST = 90  # rows that a ladder shows at most


def pitch(rows: int) -> float:
    """Inches between two rows of a ladder: roomy for a few, and 74 rows are 11 inches."""
    return min(0.34, max(0.15, 4.1 / max(rows, 1)))


def type_size(rows: int) -> float:
    """Points of a row's name at that pitch."""
    return min(8.5, 72 * pitch(rows) * 0.66)


def ladder(ax: Axes, lines: Sequence[Line], looks: Looks) -> None:
    """Rows down the y axis, the first on top; those that stand out in bold where others recede."""
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.set_yticks(range(len(lines)), [x.row for x in lines])
    some = any(looks[x.row].faint for x in lines)
    for label, line in zip(ax.get_yticklabels(), lines, strict=False):  # an inner panel shows no names
        label.set_fontsize(type_size(len(lines)))
        label.set_fontweight("bold" if some and not looks[line.row].faint else "normal")
    ax.tick_params(axis="y", length=0)


def shade(look: Look) -> str:
    return theme().soft if look.faint else look.colour


def shown(board: Board) -> list[Line]:
    """The trained rows with a value in the column that orders the board, best first; then those that miss tasks."""
    return [x for x in board.lines if x.trained and x.get(board.column).tasks]


def ranked(board: Board) -> list[Line]:
    """The same without those that miss tasks: only their means are over the same tasks."""
    return [x for x in shown(board) if x.rank]


def has_headline(board: Board) -> bool:
    """A headline exists, so that 0 is the base and 1 is truth."""
    return board.column == "headline" and bool(ranked(board))


def solid(look: Look) -> Look:
    """The look on a ladder, where every row has a line of its own: one that recedes is grey, but a mark like others."""
    return Look(theme().soft, "o") if look.faint else look


def dot(ax: Axes, x: float, y: float, look: Look, size: float = 6.5) -> Line2D:
    """A row's mark; of a row that recedes a small grey dot."""
    if look.faint:
        return ax.plot([x], [y], "o", color=theme().soft, ms=3.2, mew=0, alpha=0.45, zorder=2.5)[0]
    return ax.plot([x], [y], look.marker, color=look.colour, ms=size, mec=theme().edge, mew=0.8, zorder=5)[0]


def bar(ax: Axes, x: float, y: float, half: float, look: Look, axis: str) -> None:
    """An interval through (x, y)."""
    dx, dy = (half, 0.0) if axis == "x" else (0.0, half)
    line = {"lw": 1.3, "alpha": 0.4 if look.faint else 0.75, "zorder": 3, "solid_capstyle": "butt"}
    ax.plot([x - dx, x + dx], [y - dy, y + dy], color=shade(look), **line)


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
    if not has_headline(board):
        return None
    fig = figure(*headline_size(board))
    headline_on(panels(fig, 1, 1)[0], board, frame, looks)
    return fig


def headline_size(board: Board) -> tuple[float, float]:
    """Width and height in inches."""
    rows = min(MOST, len(shown(board)))
    return 7.2, 1.0 + pitch(rows) * rows


def headline_on(ax: Axes, board: Board, frame: Frame, looks: Looks) -> None:
    """Draw it into `ax`. `frame` is the tidy table of the board's runs."""
    every = shown(board)
    lines = every[:MOST]
    dense = pitch(len(lines)) < 0.25  # then single tasks stand on the mean's own line
    up, down = (0.0, 0.0) if dense else (0.08, 0.24)
    right = {"xytext": (8, 0), "textcoords": "offset points", "annotation_clip": False}
    trained = frame[frame["row"].isin([x.row for x in lines]) & frame["task"].isin(board.tasks)]
    means = trained.groupby(["row", "task", "kind"])["headline"].mean().reset_index()
    for i, line in enumerate(lines):
        own, look, seen = means[means["row"] == line.row], looks[line.row], line.get("headline")
        for kind, marker in (("subject", "o"), ("style", "s")):
            x = own.loc[own["kind"] == kind, "headline"]
            small = {"ms": 2.6 if dense else 3.6, "alpha": 0.55, "mew": 0, "zorder": 2}
            ax.plot(x, [i + down] * len(x), marker, color=shade(look), **small)
        if math.isfinite(seen.half):
            bar(ax, seen.value, i - up, seen.half, look, "x")
        dot(ax, seen.value, i - up, solid(look), 4.6 if dense else 6.5)
        note = rank(line) if line.rank else f"{line.tasks} of {len(board.tasks)} tasks"
        ax.annotate(
            note, (1, i), xycoords=("axes fraction", "data"), va="center", fontsize=type_size(len(lines)), **right
        )
    ax.annotate("rank", (1, 1), xycoords="axes fraction", color=theme().soft, fontsize=7.5, **right)
    ladder(ax, lines, looks)
    ax.set_xlim(*scale(lines))
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    reference(ax, 0, "frozen base", "x")
    reference(ax, 1, "truth (VAE)", "x")
    words = {"subject": "● subject", "style": "■ style"}
    kinds = ", ".join(words[k] for k in words if (means["kind"] == k).any())
    more = f"; {len(every) - len(lines)} more rows are in table.md" if len(every) > len(lines) else ""
    ax.set_xlabel(f"headline, mean and 95 % interval over tasks\n(small marks: single tasks, {kinds}{more})")


# --- per task ------------------------------------------------------------------------------------------------------


def tasks(board: Board, frame: Frame, looks: Looks) -> Figure | None:
    """A panel per task with a bar per row; dots are single seeds. Rows stand in the board's order in every panel.

    Many rows become a map of colours instead, tasks across.
    """
    lines, column = shown(board)[:MOST], board.column
    if not lines:
        return None
    kinds = frame.drop_duplicates("task").set_index("task")["kind"]
    order = sorted(board.tasks, key=lambda t: (kinds[t] != "subject", t))
    if len(lines) >= DENSE:
        return _map(lines, order, frame, column, looks)
    across = min(4, len(order))
    down = -(-len(order) // across)
    step = min(0.18, pitch(len(lines)))
    fig = figure(max(3.6, 1.2 + 1.75 * across), 0.5 + down * (0.5 + step * len(lines)))
    axes = panels(fig, down, across, sharex=True, sharey=True)
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
        ax.barh(i, own[column].mean(), height=0.68, color=shade(looks[line.row]), alpha=0.88, lw=0)
        if len(own) > 1:
            face = {"color": theme().edge, "mec": theme().ink, "mew": 0.5}
            ax.plot(own[column], [i] * len(own), "o", ms=2.6, zorder=4, **face)
        if own["failed"].all():
            note = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": 7}
            ax.annotate(str(own["status"].iloc[0]), (0, i), color=theme().soft, **note)
    ladder(ax, lines, looks)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    if column == "headline":
        ax.axvline(1, color=theme().soft, lw=0.8, ls=(0, (4, 3)))


def _map(lines: Sequence[Line], order: Sequence[str], frame: Frame, column: str, looks: Looks) -> Figure:
    """Rows down, tasks across; a cell's colour is the mean over seeds, written in hundredths where there is room."""
    import numpy as np
    from matplotlib import colormaps

    means = frame.groupby(["row", "task"])[column].mean().unstack()
    values = means.reindex(index=[x.row for x in lines], columns=list(order)).to_numpy(float)
    step = 0.3 if len(order) <= 24 else 0.16
    fig = figure(max(3.6, 2.3 + step * len(order)), 1.6 + pitch(len(lines)) * len(lines))
    ax = panels(fig, 1, 1)[0]
    top = 1.0 if column == "headline" else float(np.nanmax(values))
    low = 0.0 if column == "headline" else float(np.nanmin(values))
    colours = colormaps["cividis"].with_extremes(bad="none")
    seen = ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=top, aspect="auto")
    if step == 0.3:
        for (i, j), value in np.ndenumerate(values):
            if math.isfinite(value):
                light = (value - low) / ((top - low) or 1.0) > 0.55
                text = f"{100 * value:.0f}" if column == "headline" else number(value, 2)
                ax.text(j, i, text, ha="center", va="center", fontsize=5.5, color="#1a1a1a" if light else "#ffffff")
    ladder(ax, lines, looks)
    ax.set_xticks(range(len(order)), [short(t) for t in order], rotation=90, fontsize=7)
    ax.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    ax.tick_params(axis="x", labelrotation=90)
    for spine in ax.spines.values():
        spine.set_visible(False)
    text = (
        "headline: 0 = frozen base, 1 = truth\n(cells: hundredths)" if column == "headline" else f"raw {column} score"
    )
    key = fig.colorbar(seen, ax=ax, orientation="horizontal", shrink=0.9, aspect=30, pad=0.01)
    key.set_label(text, fontsize=7.5)
    key.ax.tick_params(labelsize=7, color=theme().soft, labelcolor=theme().ink)
    key.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return fig


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
    lines = [x for x in board.lines if x.trained][:MOST]
    found = [c for c in COSTS if any(math.isfinite(x.costs.get(c[0], math.nan)) for x in lines)]
    if not found:
        return None
    step = min(0.23, pitch(len(lines)))
    fig = figure(1.3 + 1.55 * len(found), 0.6 + step * len(lines))
    axes = panels(fig, 1, len(found), sharey=True)
    for ax, (key, title, form, log) in zip(axes, found, strict=True):
        values = [x.costs.get(key, math.nan) for x in lines]
        known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
        low = min(known) / 2 if log else 0.0
        ax.set_xscale("log" if log else "linear")
        ax.set_xlim(low, (low * (max(known) / low) ** 1.75) if log else max(known) * 1.62)
        for i, (line, value) in enumerate(zip(lines, values, strict=True)):
            if not math.isfinite(value):
                continue
            look = looks[line.row]
            ax.plot(
                [low, value], [i, i], color=shade(look), lw=1.6 if step > 0.2 else 1.1, alpha=0.6, solid_capstyle="butt"
            )
            dot(ax, value, i, solid(look), 5.5 if step > 0.2 else 4)
            text = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(form(value), (value, i), fontsize=min(7.5, type_size(len(lines))), **text)
        ax.set_title(title, fontsize=8.5, fontweight="normal")
        ladder(ax, lines, looks)
        ax.tick_params(axis="x", which="both", length=0, labelbottom=False)
        ax.spines["bottom"].set_visible(False)
    return fig
