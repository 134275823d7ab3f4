"""Which method trains on which base within a card's memory, as one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.bases.architectures import ARCHITECTURES
from bench.core.style import INK, SOFT, render, style
from bench.core.style import figure as empty
from bench.cost.forecast import FITS, GIB, NOT, WITH, Row, Setting, verdict

# Three of the house's colours, distinguishable with every common colour vision.
COLOURS = {FITS: "#0072B2", WITH: "#E69F00", NOT: "#D55E00"}
MARKERS = {FITS: "o", WITH: "s", NOT: "X"}
# What differs from the house style: a long list of methods needs small type, and each panel begins with the grid.
DIFFERS: dict[Any, Any] = {"font.size": 8, "axes.spines.left": False, "ytick.color": INK}


def figure(forecasts: Sequence[Row], setting: Setting) -> bytes:
    """Methods down, the lightest first, bases across; each mark is a step's peak memory, as SVG.

    All panels have one axis, so the pocket base, a hundredth of the others, has a panel only where it is alone.
    """
    import matplotlib
    from matplotlib.lines import Line2D

    counted = [row for row in forecasts if row.plain or row.checkpointed]
    bases = [b for b in ARCHITECTURES if any(row.base == b for row in counted)]
    bases = [b for b in bases if b != "pocket"] or bases
    rows = {(row.base, row.method): row for row in counted if row.base in bases}
    order = lightest_first(rows)
    peaks = [x for row in rows.values() for x in _peaks(row)]
    low, high = min(peaks) / 1.25, max([*peaks, setting.vram / 1.2]) * 1.25
    with style(), matplotlib.rc_context(DIFFERS):
        page = empty(1.9 + 1.45 * len(bases), 1.3 + 0.155 * len(order))
        panels = page.subplots(1, len(bases), sharex=True, sharey=True, squeeze=False)[0]
        for ax, base in zip(panels, bases, strict=True):
            ax.set_xscale("log", base=2)
            ax.set_xlim(low, high)
            ax.set_xticks(_ticks(low, high), [f"{x:g}" for x in _ticks(low, high)])
            ax.set_xticks([], minor=True)
            ax.set_ylim(len(order) - 0.4, -0.6)
            ax.set_yticks(range(len(order)), order)
            ax.tick_params(axis="y", length=0)
            ax.grid()
            ax.set_title(ARCHITECTURES[base].title, fontsize=9, fontweight="bold", loc="left")
            room = setting.vram - setting.reserve
            ax.axvspan(room, high, color="#f6efe9", lw=0, zorder=0)
            ax.axvline(room, color=SOFT, lw=0.8, ls=(0, (4, 3)))
            for y, method in enumerate(order):
                if row := rows.get((base, method)):
                    _mark(ax, row, y, setting)
        page.supxlabel("peak memory of a training step, GiB", fontsize=8.5)
        marks = [
            Line2D([], [], color=COLOURS[fit], marker=MARKERS[fit], ls="", ms=4.5, label=fit)
            for fit in (FITS, WITH, NOT)
        ]
        marks.append(Line2D([], [], color=INK, marker="|", ls="-", lw=0.8, ms=5, label="its peak with checkpointing"))
        page.legend(
            handles=marks, loc="outside upper left", ncols=4, frameon=False, fontsize=8.5,
            title=f"On a card of {setting.vram:g} GiB, of which {setting.reserve:g} is not for tensors (shaded: beyond "
            f"it); batch {setting.batch}, {setting.resolution or 512} pixels, {setting.dtype}",
            alignment="left", title_fontproperties={"weight": "bold", "size": 9.5},
        )  # fmt: skip
        return render(page, "svg")


def lightest_first(rows: Mapping[tuple[str, str], Row]) -> list[str]:
    """Methods by their peak as a multiple of a base's lightest, a geometric mean over the bases that they have."""
    least: dict[str, float] = {}
    for (base, _), row in rows.items():
        least[base] = min(least.get(base, math.inf), max(_peaks(row)))
    ratios: dict[str, list[float]] = {}
    for (base, method), row in rows.items():
        ratios.setdefault(method, []).append(math.log(max(_peaks(row)) / least[base]))
    return sorted(ratios, key=lambda method: (fmean(ratios[method]), method))


def _peaks(row: Row) -> list[float]:
    return [step.peak / GIB for step in (row.plain, row.checkpointed) if step]


def _mark(ax: Any, row: Row, y: int, setting: Setting) -> None:
    """The plain step's peak (the checkpointed one's where it alone was counted), tied to what checkpointing leaves."""
    fit = verdict(row.plain, row.checkpointed, setting)
    peaks = _peaks(row)
    if len(peaks) > 1:
        ax.plot(peaks, [y, y], color=COLOURS[fit], lw=0.8, zorder=2)
        ax.plot(peaks[1], y, color=COLOURS[fit], marker="|", ms=5, zorder=3)
    ax.plot(peaks[0], y, color=COLOURS[fit], marker=MARKERS[fit], ms=3.8, mew=0, zorder=4)


def _ticks(low: float, high: float) -> list[float]:
    """Powers of 4 inside [low, high], of 2 where those are few."""
    for step in (2, 1):
        powers = [2.0**k for k in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1, step)]
        if len(powers) > 2:
            break
    return powers
