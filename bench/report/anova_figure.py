"""Figures of a study of adapters: heat maps, F and shares of variance, means and interactions, residuals, the probe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.core.style import FAINT, INK, OTHERS, SOFT, figure, style
from bench.report.labels import label_points
from bench.report.value import number
from bench.study.anova import Effect, Means
from bench.study.anova_answer import Answer
from bench.study.anova_paper import CLIPPED, NAMES, PUBLISHED, SIMILARITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Heat = Mapping[tuple[str, str], float]
WORDS = {
    "source": "input position", "target": "output position", "activation": "activation", "scale": "scale",
    "init": "start", "size": "width", "lr": "learning rate", "base": "base", "block": "block (task, seed)",
    "kind": "kind of task", "pair": "pair",
}  # fmt: skip
BLUE, ORANGE = "#0072B2", "#D55E00"


def word(term: str) -> str:
    """A term as people say it: `source:scale` -> `input position × scale`."""
    return " × ".join(WORDS.get(part, part) for part in term.split(":"))


def level(name: object) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)


# --- heat maps ----------------------------------------------------------------------------------------------------


def heat(answers: Sequence[Answer]) -> Figure:
    """A map per kind of task in the paper's form, inputs down and outputs across, and the published one beside them."""
    panels: list[tuple[str, Heat, str]] = []
    for a in answers:
        titles = {"all": "all tasks", "subject": "subjects", "style": "styles"}
        panels.append((titles.get(a.kind, a.kind), a.heat, f"mean {a.column}"))
    panels.append(("published (SD 1.4, DreamBooth)", SIMILARITY, "CLIP similarity"))
    sources = [p for p in NAMES if any(p == s for _, table, _ in panels for s, _ in table)]
    targets = [p for p in NAMES if any(p == t for _, table, _ in panels for _, t in table)]
    across = 2 if len(panels) > 1 else 1
    down = -(-len(panels) // across)
    with style():
        fig = figure(4.1 * across, 0.4 + down * (0.9 + 0.27 * len(sources)))
        axes = fig.subplots(down, across, squeeze=False).ravel()
        for ax, (title, table, unit) in zip(axes, panels, strict=False):
            _map(ax, table, sources, targets)
            ax.set_title(f"{title}: {unit}", fontsize=8.5)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        fig.supxlabel("output position (added to)", fontsize=8.5)
        fig.supylabel("input position (read from)", fontsize=8.5)
        return fig


def _map(ax: Axes, table: Heat, sources: Sequence[str], targets: Sequence[str]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    known = [v for v in table.values() if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    colours = colormaps["viridis"]
    best = max((p for p in table if math.isfinite(table[p])), key=lambda p: table[p], default=None)
    for (s, t), value in table.items():
        x, y = targets.index(t), sources.index(s)
        share = (value - low) / (high - low) if high > low else 0.5
        face = colours(share) if math.isfinite(value) else FAINT
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white", lw=0.8))
        clipped = table is SIMILARITY and value == CLIPPED
        text = ("≥" if clipped else "") + number(value, 3)
        ax.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if share < 0.6 else INK)
        if (s, t) == best or clipped:
            edge = {"fill": False, "edgecolor": ORANGE, "lw": 1.8, "zorder": 4}
            ax.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, **edge))
    if PUBLISHED in table and table is not SIMILARITY:
        x, y = targets.index(PUBLISHED[1]), sources.index(PUBLISHED[0])
        ax.plot([x - 0.38], [y - 0.34], marker="*", ms=6, color="white", mec=INK, mew=0.5, zorder=5)
    ax.set_xticks(range(len(targets)), targets, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
    ax.set_yticks(range(len(sources)), sources, fontsize=7)
    ax.set_xlim(-0.5, len(targets) - 0.5)
    ax.set_ylim(len(sources) - 0.5, -0.5)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


# --- effects ------------------------------------------------------------------------------------------------------


def effects(a: Answer) -> Figure | None:
    """Three panels: F of one factor at a time (the paper's bars), F in the factorial model, shares of variance."""
    model = [e for e in a.second if e.df and math.isfinite(e.f)]
    alone = [e for e in a.paper if e.df and math.isfinite(e.f)]
    if not model or not alone:
        return None
    with style():
        fig = figure(9.4, 0.9 + 0.27 * max(len(model), len(alone) + 1))
        left, middle, right = fig.subplots(1, 3, width_ratios=[1, 1.25, 1.25])
        _bars(left, alone, "one factor at a time (the paper)", "F = MSB / MSE", BLUE)
        _bars(middle, model, "factorial model (type II)", "F", BLUE)
        for i, e in enumerate(model):
            right.barh(i, e.eta, height=0.62, color=ORANGE, alpha=0.8, lw=0)
            right.plot([e.low, e.high], [i, i], color=INK, lw=1.1, zorder=4)
        right.set_title("share of variance", fontsize=8.5)
        right.set_xlabel("partial η² (95 % interval)")
        right.set_xlim(0, 1)
        _rows(right, [""] * len(model))
        return fig


def _bars(ax: Axes, found: Sequence[Effect], title: str, label: str, colour: str) -> None:
    """F on a scale of square roots, since one factor may tower over the others."""
    for i, e in enumerate(found):
        ax.barh(i, e.f, height=0.62, color=colour, alpha=0.85 if e.p < 0.05 else 0.3, lw=0)
        mark = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": 7}
        ax.annotate(f"{number(e.f, 1)}{_stars(e.p)}", (e.f, i), **mark)
    ax.set_xscale("function", functions=(lambda x: abs(x) ** 0.5, lambda x: x**2))
    ax.set_xlim(0, 1.55 * max(e.f for e in found) + 1)
    ax.set_title(title, fontsize=8.5)
    ax.set_xlabel(f"{label} (pale: p ≥ 0.05)")
    ax.locator_params(axis="x", nbins=4)
    _rows(ax, [word(e.term) for e in found])


def _rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names, fontsize=7.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")


def _stars(p: float) -> str:
    return " ***" if p < 0.001 else " **" if p < 0.01 else " *" if p < 0.05 else ""


# --- means --------------------------------------------------------------------------------------------------------


def main_effects(a: Answer) -> Figure | None:
    """A panel per factor: least-squares means with intervals; positions in the order of the block's data."""
    found = {f: m for f, m in a.means.items() if ":" not in f and f != "pair" and len(m.levels) > 1}
    if not found:
        return None
    wide = [max(2.0, 0.42 * len(m.levels)) for m in found.values()]
    with style():
        fig = figure(1.0 + 1.15 * sum(wide) / 1.4, 3.0)
        axes = fig.subplots(1, len(found), sharey=True, squeeze=False, width_ratios=wide)[0]
        for ax, (factor, m) in zip(axes, found.items(), strict=True):
            order = sorted(range(len(m.levels)), key=lambda i: _place(m.levels[i][0]))
            ax.errorbar(range(len(order)), m.values[order], m.half()[order], fmt="o", color=BLUE, ms=5, lw=1.3)
            _ticks(ax, [m.levels[i][0] for i in order])
            ax.set_title(WORDS.get(factor, factor), fontsize=8.5)
            ax.grid(axis="y")
        axes[0].set_ylabel(f"{a.column}: mean, 95 % interval")
        return fig


def _place(name: object) -> tuple[int, float]:
    """Positions in the order of the block's data, numbers by size, all else as it comes."""
    if isinstance(name, int | float):
        return 0, name
    return (1, list(NAMES).index(name)) if isinstance(name, str) and name in NAMES else (2, 0)


def _ticks(ax: Axes, names: Sequence[object]) -> None:
    """A name below each place: upright while there is room."""
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(names) > 4 else {}
    ax.set_xticks(range(len(names)), [level(name) for name in names], fontsize=7, **slanted)
    ax.set_xlim(-0.6, len(names) - 0.4)


def interactions(a: Answer) -> Figure | None:
    """A panel per two-way interaction in the model: a line per level of the one over the levels of the other."""
    found = {name: m for name, m in a.means.items() if ":" in name and len(m.levels) > 3}
    if not found:
        return None
    across = min(2, len(found))
    down = -(-len(found) // across)
    with style():
        fig = figure(4.6 * across, 2.8 * down)
        axes = fig.subplots(down, across, squeeze=False).ravel()
        for ax, (name, m) in zip(axes, found.items(), strict=False):
            _lines(ax, m, a.get(name))
        for ax in axes[len(found) :]:
            ax.set_axis_off()
        fig.supylabel(f"{a.column}: mean, 95 % interval", fontsize=8.5)
        return fig


def _lines(ax: Axes, m: Means, e: Effect | None) -> None:
    """The factor with more levels lies along the axis."""
    sides = [list(dict.fromkeys(lv[k] for lv in m.levels)) for k in (0, 1)]
    along = 0 if len(sides[0]) >= len(sides[1]) else 1
    xs, others = sorted(sides[along], key=_place), sorted(sides[1 - along], key=_place)
    half = m.half()
    for k, other in enumerate(others):
        rows = [m.levels.index((x, other) if along == 0 else (other, x)) for x in xs]
        at = [i + 0.015 * len(xs) * (k - (len(others) - 1) / 2) for i in range(len(xs))]
        colour = (BLUE, ORANGE, *OTHERS)[k % 10]
        ax.errorbar(at, m.values[rows], half[rows], fmt="o-", ms=3.6, lw=1.1, color=colour, label=level(other))
    _ticks(ax, xs)
    told = f"\nF = {number(e.f, 1)}, p = {number(e.p, 3)}" if e and e.df else ""
    ax.set_title(word(":".join(m.by)) + told, fontsize=8.5, loc="left")
    # Beside the title, where no interval can reach it.
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    ax.legend(frameon=False, fontsize=7, ncols=len(others), handlelength=1.2, columnspacing=1.0, **place)
    ax.grid(axis="y")


# --- residuals and the probe --------------------------------------------------------------------------------------


def residuals(a: Answer) -> Figure | None:
    """Residuals over fitted values, and against a normal law."""
    fitted, rest = a.residuals
    if len(rest) < 8:
        return None
    from scipy.stats import probplot

    with style():
        fig = figure(6.4, 2.7)
        left, right = fig.subplots(1, 2)
        left.plot(fitted, rest, "o", ms=3, color=BLUE, alpha=0.6, mew=0)
        left.axhline(0, color=SOFT, lw=0.8)
        left.set_xlabel(f"fitted {a.column}")
        left.set_ylabel("residual")
        found: Any = probplot(rest)
        (x, y), (slope, start, _) = found
        right.plot(x, y, "o", ms=3, color=BLUE, alpha=0.6, mew=0)
        right.plot([x[0], x[-1]], [start + slope * x[0], start + slope * x[-1]], color=SOFT, lw=0.8)
        right.set_xlabel("normal quantile")
        right.set_title(f"Shapiro and Wilk: p = {number(a.normal, 3)}", fontsize=8.5)
        return fig


def probe(table: Mapping[str, Any], a: Answer) -> Figure | None:
    """The paper's probe: how far [V] moves each tensor of the frozen base, and the noise of each tuned adapter."""
    moves = {(c["source"], c["target"]): c["move"] for c in table.get("tuned", {}).values() if c["move"] is not None}
    still = table.get("frozen", {})
    if not moves or not still:
        return None
    order = sorted(moves, key=lambda p: -moves[p])
    with style():
        fig = figure(10.4, 0.8 + 0.22 * max(len(order), 8))
        left, middle, right = fig.subplots(1, 3, width_ratios=[0.8, 1, 1.2])
        names = [p for p in NAMES if p in still]
        left.barh(range(len(names)), [100 * still[p] for p in names], height=0.62, color=SOFT, alpha=0.6, lw=0)
        left.set_title("frozen base: tensor at the position", fontsize=8.5)
        left.set_xlabel("moves by, % (“[V] class” − “class”)")
        _rows(left, names)
        colours = [ORANGE if p == PUBLISHED else BLUE for p in order]
        middle.barh(range(len(order)), [100 * moves[p] for p in order], height=0.62, color=colours, alpha=0.85, lw=0)
        middle.axvline(100 * table["untuned"], color=SOFT, lw=0.9, ls=(0, (4, 3)))
        middle.set_title("tuned adapter: predicted noise", fontsize=8.5)
        middle.set_xlabel("moves by, % (dashed: frozen base)")
        _rows(middle, [f"{s} → {t}" for s, t in order])
        both = [p for p in order if math.isfinite(a.heat.get(p, math.nan))]
        own = [ORANGE if p == PUBLISHED else BLUE for p in both]
        points = [(100 * moves[p], a.heat[p]) for p in both]
        for (x, y), colour in zip(points, own, strict=True):
            right.plot([x], [y], "o", ms=5, color=colour)
        right.set_title("does the move tell the score?", fontsize=8.5)
        right.set_xlabel("predicted noise moves by, %")
        right.set_ylabel(f"mean {a.column}" + (f" ({a.kind}s)" if a.kind != "all" else ""))
        right.margins(x=0.2, y=0.12)
        right.grid()
        label_points(right, points, [f"{s}→{t}" for s, t in both], own)
        return fig
