"""Labels that never overlap and marks that never hide each other, arranged whenever a figure is drawn.

Only a drawn figure knows how many pixels its axes have: a layout, another dpi or a window that is resized moves
everything. So each axes is given an invisible artist that is drawn first and puts labels and marks where they belong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.style import Look, halo, readable, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

FAR = (5, 9, 14, 20, 28, 38, 50, 66, 84, 104, 130)  # points between a mark and its label: what is tried, nearest first
TIED = 12  # points from which on a thin line ties a label to its mark
AROUND = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 16, endpoint=False)]
FONT = 8.0
AWAY = 14  # points between the end of a line and its name
LINE = 10.5  # points between two lines of text of that size
HIDDEN = 0.7  # of a mark's size: nearer than that two marks cannot be told apart
WIDEST = 13.5  # points that a ring is wider than a mark at most
SOLID = 2  # artists of this zorder and above are what labels keep off; below lie grids and reference lines


def when_drawn(ax: Axes, work: Callable[[Any], None], order: int) -> None:
    """Call `work` (with the renderer) each time `ax` is drawn, before all else in it; low `order` first."""
    from matplotlib.artist import Artist

    class Arranger(Artist):
        def draw(self, renderer: Any) -> None:
            work(renderer)

    artist = Arranger()
    artist.set_in_layout(False)
    artist.set_zorder(-1000 + order)
    ax.add_artist(artist)


def _unit(ax: Axes) -> float:
    """Pixels of a point (1/72 inch)."""
    fig = root_figure(ax)
    return fig.dpi / 72


# --- marks ---------------------------------------------------------------------------------------------------------


def keep_apart(ax: Axes, marks: Sequence[Line2D]) -> None:
    """Where marks (lines of one point, the topmost first) would hide each other, the lower ones become wider rings."""
    names = ("markersize", "markerfacecolor", "markeredgecolor", "markeredgewidth")
    plain = [{name: getattr(mark, f"get_{name}")() for name in names} for mark in marks]

    def work(renderer: Any) -> None:
        unit = _unit(ax)
        spots = [ax.transData.transform(m.get_xydata())[0] for m in marks]
        sizes: list[float] = []
        for i, (mark, before) in enumerate(zip(marks, plain, strict=True)):
            size = before["markersize"]
            near = [sizes[j] for j in range(i) if math.dist(spots[i], spots[j]) < HIDDEN * unit * size]
            sizes.append(min(max([size, *(other + 4.5 for other in near)]), size + WIDEST))
            ring = dict(zip(names, (sizes[i], "none", mark.get_color(), 1.6), strict=True))
            mark.set(**(ring if near else before))

    for i, mark in enumerate(marks):
        mark.set_zorder(5 - i / 1000)
    when_drawn(ax, work, 0)


# --- labels beside points ------------------------------------------------------------------------------------------


def label_points(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    optional: bool = False,
) -> list[Annotation]:
    """Write each text near its point (data units), inside the axes and off other labels, marks, lines and texts.

    The first texts choose first. A label that had to move away from its point is tied to it by a thin line. An
    `optional` label that finds no free place is left out.
    """
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    labels, ties = [], []
    for point, text, colour in zip(points, texts, colours, strict=True):
        label = ax.annotate(text, point, xytext=(0, 0), textcoords="offset points", zorder=6, annotation_clip=False)
        label.set(ha="left", va="bottom", fontsize=FONT, color=readable(colour), in_layout=False)
        halo(label)
        tie = Line2D([], [], color=colour, lw=0.6, zorder=1.9, transform=IdentityTransform(), in_layout=False)
        ax.add_artist(tie)
        labels.append(label)
        ties.append(tie)

    def work(renderer: Any) -> None:
        unit = _unit(ax)
        spots = ax.transData.transform(list(points)) if len(points) else np.empty((0, 2))
        for label in labels:
            label.set_visible(True)  # what is hidden has no extent
        sizes = [(box.width, box.height) for box in (x.get_window_extent(renderer) for x in labels)]
        frame = ax.get_window_extent(renderer)
        others = [t for t in ax.texts if t not in labels and t.get_visible() and t.get_text()]
        walls = np.array([_box(t.get_window_extent(renderer)) for t in others]).reshape(-1, 4)
        placed = _place(spots, sizes, np.array(_box(frame)), walls, *_obstacles(ax, unit), unit, optional)
        for label, tie, spot, box in zip(labels, ties, spots, placed, strict=True):
            label.set_visible(box is not None)
            tie.set_visible(False)
            if box is None:
                continue
            label.set_position(((box[0] - spot[0]) / unit, (box[1] - spot[1]) / unit))
            near = np.clip(spot, box[:2], box[2:])
            tie.set_visible(math.dist(near, spot) > TIED * unit)
            tie.set_data([spot[0], near[0]], [spot[1], near[1]])

    when_drawn(ax, work, 1)
    return labels


def _box(extent: Any) -> tuple[float, float, float, float]:
    return extent.x0, extent.y0, extent.x1, extent.y1


def _obstacles(ax: Axes, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) in pixels around the marks and along the lines of `ax`, and how much each matters (K,)."""
    boxes, weights = [np.empty((0, 4))], [np.empty(0)]
    for line in ax.lines:
        data = np.asarray(line.get_xydata(), float)
        if not line.get_visible() or line.get_zorder() < SOLID or not len(data):
            continue
        spots = line.get_transform().transform(data)
        spots = spots[np.isfinite(spots).all(1)]
        marked = line.get_marker() not in (None, "None", "", " ")
        # A faint mark may lie under a label rather than drive it away from its own.
        weight = (8.0 if marked else 2.0) * (0.12 if (line.get_alpha() or 1.0) < 0.5 else 1.0)
        reach = line.get_markersize() * unit / 2 + 1.5 * unit if marked else 2 * unit
        if not marked:
            steps = [p + (q - p) * t for p, q in itertools.pairwise(spots) for t in _shares(p, q, 4 * unit)]
            spots = np.array(steps) if steps else spots[:0]
        boxes.append(np.hstack([spots - reach, spots + reach]))
        weights.append(np.full(len(spots), weight))
    return np.concatenate(boxes), np.concatenate(weights)


def _shares(p: np.ndarray, q: np.ndarray, step: float) -> np.ndarray:
    return np.linspace(0, 1, min(400, max(2, int(math.dist(p, q) / step) + 1)))


def _areas(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Square pixels (N, K) that `boxes` (N, 4) share with `others` (K, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)


def _place(
    spots: np.ndarray,
    sizes: Sequence[tuple[float, float]],
    frame: np.ndarray,
    walls: np.ndarray,
    obstacles: np.ndarray,
    weights: np.ndarray,
    unit: float,
    optional: bool,
) -> list[np.ndarray | None]:
    """A box (4,) for each label, in pixels; None for an optional one that walls, labels and the frame leave no place.

    One by one, then three rounds in which each moves to where the others leave it the best place.
    """
    far, x, y = np.array([(far, *way) for far, way in itertools.product(FAR, AROUND)]).T
    # To the right is where a label is looked for first.
    taste = unit * unit * (2.2 * far + 3 * (1 - x) + 2 * np.abs(y))
    options, costs = [], []
    for i, (spot, size) in enumerate(zip(spots, np.asarray(sizes, float).reshape(-1, 2), strict=True)):
        centres = spot + np.stack([x, y], 1) * (far[:, None] * unit + size / 2)
        boxes = np.hstack([centres - size / 2, centres + size / 2])
        hard = size.prod() - _areas(boxes, frame[None])[:, 0] + _areas(boxes, walls).sum(1)
        gaps = _gaps(boxes, spots)
        strange = (gaps <= gaps[:, [i]] + 3 * unit).sum(1) - 1  # marks that the label would seem to belong to
        # A tie that runs through somebody's interval seems to belong to it.
        through = (_crossed(spot, boxes, obstacles[weights > 1], TIED * unit) > 0) & (gaps[:, i] > TIED * unit)
        soft = taste + unit * unit * (60 * strange + 60 * through) + _areas(boxes, obstacles) @ weights
        options.append(boxes)
        costs.append(soft + NEVER * np.clip(hard - 0.5, 0, None))
    chosen: list[np.ndarray | None] = [None] * len(options)
    for _ in range(4):
        for i, (boxes, cost) in enumerate(zip(options, costs, strict=True)):
            rest = [b for j, b in enumerate(chosen) if j != i and b is not None]
            others = np.array(rest).reshape(-1, 4)
            total = cost + NEVER * _areas(boxes, others).sum(1)
            best = int((total + 40 * unit * unit * _crossed(spots[i], boxes, others)).argmin())
            chosen[i] = boxes[best] if total[best] < NEVER or not optional else None
    return chosen


def _gaps(boxes: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """Distances (N, K) of `boxes` (N, 4) from `spots` (K, 2)."""
    near = np.clip(spots[None], boxes[:, None, :2], boxes[:, None, 2:])
    return np.linalg.norm(near - spots[None], axis=-1)


NEVER = 1e5  # a square pixel of what must not be


def _crossed(spot: np.ndarray, boxes: np.ndarray, others: np.ndarray, start: float = 0.0) -> np.ndarray:
    """How much (N,) of the lines from a mark to `boxes` (N, 4), from `start` pixels on, lies in `others` (K, 4)."""
    near = np.clip(spot, boxes[:, :2], boxes[:, 2:])
    points = spot + (near - spot)[:, None] * np.linspace(0, 1, 8)[:, None]  # (N, 8, 2)
    inside = (points[:, :, None] > others[:, :2]).all(-1) & (points[:, :, None] < others[:, 2:]).all(-1)
    far = np.linalg.norm(points - spot, axis=-1) >= start
    return (inside & far[:, :, None]).sum((1, 2)).astype(float)


# --- labels at the ends of lines -----------------------------------------------------------------------------------


def room_for_ends(ax: Axes, names: Sequence[str]) -> float:
    """The share of the width of `ax` that names at the right ends of its lines need."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    fig = root_figure(ax)
    share, grid = ax.get_position().width, ax.get_subplotspec()
    if grid is not None and fig.get_layout_engine() is not None:  # which will widen the axes when it is drawn
        share = max(share, 0.8 / grid.get_gridspec().ncols)
    width = share * fig.get_figwidth() * 72
    font = FontProperties(size=FONT)
    wide = max((TextPath((0, 0), name, prop=font).get_extents().width for name in names), default=0.0)
    return min(0.6, (AWAY + 4 + wide) / width)


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, float]], looks: Mapping[str, Look]) -> list[Annotation]:
    """Names to the right of the last points (data units) of lines, apart from each other and inside the axes.

    The first names go first: where the axes are too low for all, the last are left out.
    """
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    labels, ties = [], []
    for row, point in ends.items():
        label = ax.annotate(row, point, xytext=(0, 0), textcoords="offset points", annotation_clip=False)
        label.set(va="center", fontsize=FONT, color=readable(looks[row].colour), in_layout=False)
        tie = Line2D([], [], color=looks[row].colour, lw=0.6, alpha=0.7, transform=IdentityTransform(), in_layout=False)
        ax.add_artist(tie)
        labels.append(label)
        ties.append(tie)

    def work(renderer: Any) -> None:
        unit, frame = _unit(ax), ax.get_window_extent(renderer)
        gap = LINE * unit
        fit = max(1, int(frame.height / gap))
        spots = ax.transData.transform(list(ends.values())) if ends else np.empty((0, 2))
        ys = spread_apart([y for _, y in spots[:fit]], gap, frame.y0 + gap / 2, frame.y1 - gap / 2)
        for i, (label, tie, (x, y)) in enumerate(zip(labels, ties, spots, strict=True)):
            label.set_visible(i < fit)
            tie.set_visible(i < fit)
            if i < fit:
                label.set_position((AWAY, (ys[i] - y) / unit))
                tie.set_data([x, x + (AWAY - 2) * unit], [y, ys[i]])

    when_drawn(ax, work, 1)
    return labels


def spread_apart(
    wanted: Sequence[float], gap: float, low: float = float("-inf"), high: float = float("inf")
) -> list[float]:
    """Positions near `wanted`, at least `gap` apart, inside [low, high] if they fit there; in the same order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[float, list[int]]] = []  # (centre, members): members of a group stand exactly `gap` apart
    for i in order:
        groups.append((wanted[i], [i]))
        while len(groups) > 1:
            (c0, m0), (c1, m1) = groups[-2:]
            if c0 + gap * (len(m0) - 1) / 2 + gap <= c1 - gap * (len(m1) - 1) / 2:
                break
            both = m0 + m1
            centre = sum(wanted[j] - gap * (k - (len(both) - 1) / 2) for k, j in enumerate(both)) / len(both)
            groups[-2:] = [(centre, both)]
    out = [0.0] * len(wanted)
    for centre, members in groups:
        for k, j in enumerate(members):
            out[j] = centre + gap * (k - (len(members) - 1) / 2)
    ranks = {j: k for k, j in enumerate(order)}
    for j, k in ranks.items():  # borders last: they may squeeze neighbours, but never swap them
        out[j] = max(out[j], low + gap * k)
        out[j] = min(out[j], high - gap * (len(wanted) - 1 - k))
    return out
