"""Fronts: what a row's headline costs, what it is made of, and what it does to the rest of the base."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.style import figure, panels, reference, theme
from bench.report.figure import Looks, bar, dot, has_headline, ranked, scale
from bench.report.labels import keep_apart, label_points
from bench.report.table import TITLES
from bench.report.value import rough, size
from bench.study.leaderboard import Board, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {  # what a front may stand on: its axis in words
    "scalars_trainable": ("trainable scalars", rough),
    "scalars_stored": ("stored scalars", rough),
    "bytes_disk": ("bytes on disk", size),
    "bytes_peak": ("peak memory of a training step, bytes", size),
    "flops_step": ("FLOPs of a training step", rough),
    "seconds_step": ("seconds of a training step", lambda x: f"{x:g}"),
    "seconds_total": ("seconds of a whole run", lambda x: f"{x:g}"),
    "step_ratio": ("step time ÷ lora's", lambda x: f"{x:g}×"),
}
SCORES = {  # what the axes of a tradeoff may be: a score of the leaderboard, in words
    "concept": ("concept_norm", "concept (0 = frozen base, 1 = truth)"),
    "follow": ("follow_norm", "following (0 = truth of other prompts, 1 = truth)"),
    "headline": ("headline", "headline"),
    "drift": ("drift", "drift of unrelated prompts"),
    "diversity": ("diversity", "diversity"),
    "memorisation_gap": ("memorisation_gap", "memorisation: concept to training minus to held-out pictures"),
    "prior_leak": ("prior_leak", "leak into the plain class word"),
    "prior_preservation": ("prior_preservation", "plain class pictures kept"),
    "attributes": ("attributes", "share of asked attributes that are there"),
    "kid": ("kid", "KID to truth pictures"),
    "text": ("text", "cosine of picture and prompt"),
}
ANCHORS = {  # where truth or the base stands by definition: name, x, y, marker
    ("concept", "follow"): ("truth (VAE)", 1.0, 1.0, "*"),
    ("drift", "headline"): ("frozen base", 0.0, 0.0, "x"),
}


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, score) that no other point beats in both, cheapest first."""
    best, out = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            out.append(i)
    return out


def costed(board: Board, cost: str = "scalars_trainable") -> list[Line]:
    """The ranked rows that this cost is known of."""
    return [x for x in ranked(board) if x.costs.get(cost, math.nan) > 0] if has_headline(board) else []


def front(boards: Sequence[Board], looks: Looks) -> Figure | None:
    """Headline against trainable scalars, one panel per kind of task, with the Pareto front of the means."""
    found = [b for b in boards if (b.kind != "all" or len(boards) == 1) and costed(b)]
    if not found:
        return None
    fig = figure(3.7 * len(found) + (1.0 if len(found) == 1 else 0), 3.6)
    axes = panels(fig, 1, len(found), sharey=True)
    scales = [scale(ranked(b)) for b in found]
    for ax, board in zip(axes, found, strict=True):
        front_on(ax, board, looks)
        ax.set_title(f"{TITLES[board.kind]} ({len(board.tasks)})")
        ax.set_ylim(min(s[0] for s in scales), max(s[1] for s in scales))
        if ax is not axes[0]:
            ax.set_ylabel("")
    return fig


def front_on(ax: Axes, board: Board, looks: Looks, cost: str = "scalars_trainable") -> None:
    """Draw headline against one of COSTS into `ax`. The rows of the Pareto front stand out beside those that do."""
    from matplotlib.ticker import LogLocator, NullLocator

    lines = costed(board, cost)
    points = [(x.costs[cost], x.get("headline").value) for x in lines]
    best = pareto(points)
    looks = {**looks, **{lines[i].row: replace(looks[lines[i].row], faint=False) for i in best}}
    title, form = COSTS[cost]
    ax.set_xscale("log", base=2 if cost.startswith("bytes") else 10)
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    close = high / low < 12  # few powers of ten lie there: 2 and 5 are written too
    ax.set_xlim(low / (1.7 if close else 3), high * (1.7 if close else 3))
    ax.set_ylim(*scale(ranked(board)))
    ax.set_xlabel(title)
    ax.set_ylabel("headline (95 % interval over tasks)")
    ax.grid(axis="y")

    def tick(x: float, _: object = None) -> str:
        return re.sub(r"\.0+(?=\D|$)", "", form(x))

    ax.xaxis.set_major_formatter(tick)
    if cost.startswith("bytes"):
        ax.xaxis.set_major_locator(LogLocator(base=2, numticks=6))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_minor_formatter(lambda x, _: tick(x) if close and f"{x:e}"[0] in "25" else "")
    reference(ax, 0, "frozen base")
    reference(ax, 1, "truth (VAE)")
    # The stairs: corner by corner, so that labels can keep off them.
    corners = [points[best[0]]]
    for i in best[1:]:
        corners += [(points[i][0], corners[-1][1]), points[i]]
    corners.append((ax.get_xlim()[1], corners[-1][1]))
    ax.plot(*zip(*corners, strict=True), color=theme().ink, lw=0.9, alpha=0.55, zorder=2)
    for line, (x, y) in zip(lines, points, strict=True):
        half = line.get("headline").half
        if math.isfinite(half) and not looks[line.row].faint:
            bar(ax, x, y, half, looks[line.row], "y")
    # The front chooses its places for labels first.
    order = [*best, *(i for i in range(len(lines)) if i not in best)]
    _marks(ax, [lines[i] for i in order], [points[i] for i in order], looks)


def _marks(
    ax: Axes, lines: Sequence[Line], points: Sequence[tuple[float, float]], looks: Looks, anchor: tuple | None = None
) -> None:
    """The rows' marks with the names of those that stand out, and of the anchor."""
    marks = [dot(ax, x, y, looks[line.row]) for line, (x, y) in zip(lines, points, strict=True)]
    out = [i for i, line in enumerate(lines) if not looks[line.row].faint]
    keep_apart(ax, [marks[i] for i in out])
    spots, names = [points[i] for i in out], [lines[i].row for i in out]
    colours = [looks[name].colour for name in names]
    if anchor:
        spots, names, colours = [anchor[1:3], *spots], [anchor[0], *names], [theme().ink, *colours]
    label_points(ax, spots, names, colours, optional=len(out) < len(lines))


# --- tradeoffs -----------------------------------------------------------------------------------------------------


def tradeoff(board: Board, looks: Looks) -> Figure | None:
    """Left: concept against following, with lines of equal headline. Right: headline against drift."""
    if not has_headline(board):
        return None
    pairs = [p for p in ANCHORS if scored(board, *p)]
    fig = figure(3.7 * len(pairs) + (0.3 if len(pairs) == 1 else 0), 3.6)
    titles = {"follow": "What the headline is made of", "headline": "What it does to the rest"}
    for ax, (x, y) in zip(panels(fig, 1, len(pairs)), pairs, strict=True):
        tradeoff_on(ax, board, looks, x, y)
        ax.set_title(titles[y])
    return fig


def scored(board: Board, x: str, y: str) -> list[Line]:
    """The ranked rows that have both scores (names of SCORES)."""
    return [line for line in ranked(board) if all(line.get(SCORES[s][0]).tasks for s in (x, y))]


def tradeoff_on(ax: Axes, board: Board, looks: Looks, x: str = "concept", y: str = "follow") -> None:
    """Draw one of SCORES against another into `ax`, with crosses of 95 % intervals for the rows that stand out."""
    lines = scored(board, x, y)
    points = [(line.get(SCORES[x][0]).value, line.get(SCORES[y][0]).value) for line in lines]
    anchor = ANCHORS.get((x, y))
    spots = [*points, anchor[1:3]] if anchor and anchor[0] == "frozen base" else points
    ax.set(xlabel=SCORES[x][1], ylabel=SCORES[y][1])
    ax.set_xlim(*_limits([p[0] for p in spots]))
    ax.set_ylim(*(scale(lines) if y == "headline" else _limits([p[1] for p in spots])))
    if (x, y) == ("concept", "follow"):
        lows = [max(0.0, min(p[i] for p in points) - 0.15) for i in (0, 1)]
        tops = [max(1.0, *(p[i] for p in points)) + 0.06 for i in (0, 1)]
        ax.set(xlim=(lows[0], tops[0]), ylim=(lows[1], tops[1]))
        _products(ax, lows, tops)
    else:
        ax.grid()
    full = any(looks[line.row].faint for line in lines)
    for line in lines:
        if not looks[line.row].faint:
            _cross(ax, line, SCORES[x][0], SCORES[y][0], looks, full)
    if anchor:
        look = {"ms": 9, "mec": theme().edge} if anchor[3] == "*" else {"ms": 6, "clip_on": False}
        ax.plot([anchor[1]], [anchor[2]], anchor[3], color=theme().ink, zorder=4, **look)
    _marks(ax, lines, points, looks, anchor)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values take."""
    low, high = min(values), max(values)
    room = (high - low) or abs(high) or 1.0
    return low - 0.06 * room, high + 0.18 * room


def _products(ax: Axes, lows: Sequence[float], tops: Sequence[float]) -> None:
    """Faint lines of equal headline, named where they leave the picture at the right."""
    import numpy as np

    soft = {"fontsize": 7, "color": theme().soft}
    ax.annotate("grey: equal headline", (0, 0), xycoords="axes fraction", xytext=(5, 5), textcoords="offset points",
                **soft)  # fmt: skip
    for level in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        x = np.linspace(max(lows[0], level / tops[1]), tops[0], 100)
        if level / tops[0] < lows[1] or x[0] >= tops[0]:
            continue
        ax.plot(x, level / x, color=theme().faint, lw=0.8, zorder=0)
        at = (tops[0], level / tops[0])
        ax.annotate(f"{level:g}", at, xytext=(-2, 1), textcoords="offset points", ha="right", **soft)


def _cross(ax: Axes, line: Line, across: str, up: str, looks: Looks, full: bool) -> None:
    """Both intervals of a row. Where a picture is `full` of rows, one that is wider than the picture is left out."""
    x, y = line.get(across), line.get(up)
    for seen, axis, (low, high) in ((x, "x", ax.get_xlim()), (y, "y", ax.get_ylim())):
        if math.isfinite(seen.half) and (not full or (seen.low > low and seen.high < high)):
            bar(ax, x.value, y.value, seen.half, looks[line.row], axis)
