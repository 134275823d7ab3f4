"""Lines over an axis: losses over steps, headline over learning rates. Only the rows that stand out have a colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.style import figure, panels, theme
from bench.report.figure import Looks, dot, shade
from bench.report.labels import label_ends, label_points, room_for_ends
from bench.report.value import rate
from bench.study import Frame
from bench.study.tuning import Choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = {"train": "training pictures", "heldout": "held-out pictures"}


# --- losses --------------------------------------------------------------------------------------------------------


def curves(losses: Frame, looks: Looks) -> Figure | None:
    """Loss over its value at step 0 (the frozen base), mean over blocks: training and held-out pictures.

    `losses` has columns row, step, train, heldout, the two already divided by their start (study.frame.losses).
    """
    splits = [s for s in SPLITS if losses[s].notna().any()]
    if not splits:
        return None
    fig = figure(3.8 * len(splits), 3.3)
    for ax, split in zip(panels(fig, 1, len(splits), sharey=True), splits, strict=True):
        curves_on(ax, losses, looks, split)
        ax.set_title(SPLITS[split])
        if split != splits[0]:
            ax.set_ylabel("")
    return fig


def curves_on(ax: Axes, losses: Frame, looks: Looks, split: str) -> None:
    """Draw the losses on one of SPLITS into `ax`."""
    means = losses.dropna(subset=[split]).groupby(["row", "step"], sort=True)[split].mean()
    there = set(means.index.get_level_values(0))
    rows = [r for r in looks if r in there]
    named = [r for r in rows if not looks[r].faint]
    last = float(losses["step"].max()) or 1.0
    ends: dict[str, tuple[float, float]] = {}
    for row in rows:
        line, look = means.loc[row], looks[row]
        if look.faint:
            ax.plot(line.index, line, color=theme().soft, lw=0.7, alpha=0.3, zorder=2)
            continue
        ax.plot(line.index, line, color=look.colour, lw=1.5, zorder=3)
        ends[row] = float(line.index[-1]), float(line.iloc[-1])
    ax.set_xlim(0, last / (1 - room_for_ends(ax, named)))
    ax.set_xticks([x for x in ax.get_xticks() if x <= last])
    ax.set_xlabel("optimiser steps")
    ax.set_ylabel("loss ÷ loss of the frozen base")
    ax.grid(axis="y")
    ax.spines["bottom"].set_bounds(0, last)
    label_ends(ax, ends, looks)


# --- learning rates ------------------------------------------------------------------------------------------------


def tuning(choices: Sequence[Choice], looks: Looks) -> Figure | None:
    """Headline against learning rate for each method; the chosen rate is ringed, failures stand at 0 as they count."""
    drawn = [c for c in choices if len(c.trials) > 1 and any(t.score.tasks for t in c.trials)]
    if not drawn:
        return None
    fig = figure(5.6, 3.8)
    ax = panels(fig, 1, 1)[0]
    ax.set_xscale("log")
    named = [c for c in drawn if not looks[c.name].faint]
    for c in drawn:
        look = looks[c.name]
        xs, ys = [t.lr for t in c.trials], [t.score.value for t in c.trials]
        if look.faint:
            ax.plot(xs, ys, color=theme().soft, lw=0.7, alpha=0.3, zorder=2)
            continue
        ax.plot(xs, ys, color=shade(look), lw=1.4, zorder=3)
        for t in c.trials:
            dot(ax, t.lr, t.score.value, look, 5)
        if c.best:
            ring = {"ms": 11, "mfc": "none", "mec": look.colour, "mew": 1.3, "zorder": 4}
            ax.plot([c.lr], [c.best.score.value], "o", **ring)
    ax.set_xlabel("learning rate (ringed: chosen)")
    ax.set_ylabel("mean headline over tuning tasks")
    ax.grid(axis="y")
    ax.xaxis.set_major_formatter(lambda x, _: rate(x))
    ax.margins(x=0.12, y=0.12)
    tops = [max(c.trials, key=lambda t: t.score.value if t.score.tasks else -math.inf) for c in named]
    colours = [looks[c.name].colour for c in named]
    label_points(ax, [(t.lr, t.score.value) for t in tops], [c.name for c in named], colours)
    return fig
