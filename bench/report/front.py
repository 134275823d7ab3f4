"""Fronts: what a row's headline costs, what it is made of, and what it does to the rest of the base."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.style import FAINT, INK, SOFT, Box, figure, place_labels, reference, settle, style
from bench.report.figure import Looks, bar, dot, has_headline, ranked, scale
from bench.report.table import TITLES
from bench.report.value import rough
from bench.study.leaderboard import Board, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, score) that no other point beats in both, cheapest first."""
    best, out = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            out.append(i)
    return out


def front(boards: Sequence[Board], looks: Looks) -> Figure | None:
    """Headline against trainable scalars, one panel per kind of task, with the Pareto front of the means."""
    panels = [b for b in boards if b.kind != "all" or len(boards) == 1]
    panels = [b for b in panels if has_headline(b) and any(x.costs.get("scalars_trainable", 0) > 0 for x in ranked(b))]
    if not panels:
        return None
    with style():
        fig = figure(3.7 * len(panels) + (1.0 if len(panels) == 1 else 0), 3.6)
        axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        scales = [scale(ranked(b)) for b in panels]
        for ax, board in zip(axes, panels, strict=True):
            lines = [x for x in ranked(board) if x.costs.get("scalars_trainable", 0) > 0]
            cost = [x.costs["scalars_trainable"] for x in lines]
            ax.set_xscale("log")
            ax.set_xlim(min(cost) / 3, max(cost) * 3)
            ax.set_ylim(min(s[0] for s in scales), max(s[1] for s in scales))
            ax.set_title(f"{TITLES[board.kind]} ({len(board.tasks)})")
            ax.set_xlabel("trainable scalars")
            ax.grid(axis="y")
            ax.xaxis.set_major_formatter(lambda x, _: rough(x).replace(".00", "").replace(".0", ""))
            ax.xaxis.set_minor_formatter("")
        axes[0].set_ylabel("headline (95 % interval over tasks)")
        settle(fig)
        for ax, board in zip(axes, panels, strict=True):
            _front(ax, board, looks)
        return fig


def _front(ax: Axes, board: Board, looks: Looks) -> None:
    lines = [x for x in ranked(board) if x.costs.get("scalars_trainable", 0) > 0]
    points = [(x.costs["scalars_trainable"], x.get("headline").value) for x in lines]
    steps = [points[i] for i in pareto(points)]
    xs = [*(x for x, _ in steps), ax.get_xlim()[1]]
    ys = [*(y for _, y in steps), steps[-1][1]]
    ax.plot(xs, ys, drawstyle="steps-post", color=INK, lw=0.9, alpha=0.55, zorder=2)
    reference(ax, 0, "frozen base")
    reference(ax, 1, "truth (VAE)")
    boxes: list[Box] = list(_walls(ax, xs, ys))
    for line, (x, y) in zip(lines, points, strict=True):
        half = line.get("headline").half
        if math.isfinite(half):
            boxes.append(bar(ax, x, y, half, looks[line.row], "y"))
        dot(ax, x, y, looks[line.row])
    place_labels(ax, points, [x.row for x in lines], [looks[x.row].colour for x in lines], boxes)


def _walls(ax: Axes, xs: Sequence[float], ys: Sequence[float]) -> list[Box]:
    """The steps through (xs, ys) as thin boxes in pixels, for labels to keep off."""
    at = [tuple(map(float, p)) for p in ax.transData.transform(list(zip(xs, ys, strict=True)))]
    flat = [(x0, y0 - 2, x1, y0 + 2) for (x0, y0), (x1, _) in itertools.pairwise(at)]
    return flat + [(x1 - 2, min(y0, y1), x1 + 2, max(y0, y1)) for (_, y0), (x1, y1) in itertools.pairwise(at)]


def tradeoff(board: Board, looks: Looks) -> Figure | None:
    """Left: concept against following, with lines of equal headline. Right: headline against drift."""
    lines = ranked(board)
    if not has_headline(board):
        return None
    drifts = [x for x in lines if x.get("drift").tasks]
    with style():
        fig = figure(7.4 if drifts else 4.0, 3.6)
        axes = fig.subplots(1, 2 if drifts else 1, squeeze=False)[0]
        ax = axes[0]
        marks = [(x.get("concept_norm").value, x.get("follow_norm").value) for x in lines]
        lows = [max(0.0, min(m[i] for m in marks) - 0.15) for i in (0, 1)]
        tops = [max(1.0, *(m[i] for m in marks)) + 0.06 for i in (0, 1)]
        ax.set(xlim=(lows[0], tops[0]), ylim=(lows[1], tops[1]), xlabel="concept (0 = frozen base, 1 = truth)")
        ax.set_ylabel("following (0 = truth of other prompts, 1 = truth)")
        ax.set_title("What the headline is made of")
        if drifts:
            widest = max(x.get("drift").value for x in drifts)
            axes[1].set(xlim=(-0.04 * widest, 1.18 * widest), ylim=scale(drifts), xlabel="drift of unrelated prompts")
            axes[1].set_ylabel("headline")
            axes[1].set_title("What it does to the rest")
            axes[1].grid()
        settle(fig)
        _products(ax, lows, tops)
        boxes = _crosses(ax, lines, "concept_norm", "follow_norm", looks)
        ax.plot(1, 1, "*", color=INK, ms=9, mec="white")
        names, colours = [x.row for x in lines], [looks[x.row].colour for x in lines]
        place_labels(ax, [*marks, (1.0, 1.0)], [*names, "truth (VAE)"], [*colours, INK], boxes)
        if drifts:
            boxes = _crosses(axes[1], drifts, "drift", "headline", looks)
            spots = [(x.get("drift").value, x.get("headline").value) for x in drifts]
            axes[1].plot(0, 0, "x", color=INK, ms=6, clip_on=False)
            names = [x.row for x in drifts]
            place_labels(
                axes[1], [*spots, (0, 0)], [*names, "frozen base"], [*(looks[n].colour for n in names), INK], boxes
            )
        return fig


def _products(ax: Axes, lows: Sequence[float], tops: Sequence[float]) -> None:
    """Faint lines of equal headline, named where they leave the picture at the top or the right."""
    import numpy as np

    ax.annotate("grey: equal headline", (0, 0), xycoords="axes fraction", xytext=(5, 5), textcoords="offset points",
                fontsize=7, color=SOFT)  # fmt: skip
    for level in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        x = np.linspace(max(lows[0], level / tops[1]), tops[0], 100)
        if level / tops[0] < lows[1] or x[0] >= tops[0]:
            continue
        ax.plot(x, level / x, color=FAINT, lw=0.8, zorder=0)
        at, align = ((tops[0], level / tops[0]), "right")
        ax.annotate(f"{level:g}", at, xytext=(-2, 1), textcoords="offset points", fontsize=7, color=SOFT, ha=align)


def _crosses(ax: Axes, lines: Sequence[Line], across: str, up: str, looks: Looks) -> list:
    boxes = []
    for line in lines:
        x, y = line.get(across), line.get(up)
        for seen, axis in ((x, "x"), (y, "y")):
            if math.isfinite(seen.half):
                boxes.append(bar(ax, x.value, y.value, seen.half, looks[line.row], axis))
        dot(ax, x.value, y.value, looks[line.row])
    return boxes
