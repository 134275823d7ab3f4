"""How every figure looks: one colour and marker per row in all of them, type, lines, and labels that do not overlap."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"
# Okabe and Ito's colours that stand out on white (their yellow does not), told apart with every common colour vision.
COLOURS = {"lora": "#0072B2", "full": "#D55E00", "adapter": "#009E73", "bias": "#E69F00", "difffit": "#CC79A7"}
OTHERS = ("#56B4E9", "#7A5195", "#8C564B", "#4D4D4D", "#A3A500", "#00A0A0", "#B2182B", "#5E81AC")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p")
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same everywhere
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "litmus",  # the same ids, hence the same file, every time
    "svg.fonttype": "path",  # looks the same without the font
    "text.parse_math": False,  # a "$" in a method's name is a dollar
}


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


def looks(rows: Iterable[tuple[str, str]]) -> dict[str, Look]:
    """Row -> its look, from (row, method) pairs: a hue per method, a lighter shade and another marker per variant."""
    pairs = sorted(set(rows), key=lambda x: (x[1], x[0] != x[1], x[0]))  # the plain row of a method comes first
    spare = itertools.cycle(OTHERS)
    hue = {m: COLOURS[m] if m in COLOURS else next(spare) for m in dict.fromkeys(m for _, m in pairs)}
    shape = dict(zip(hue, itertools.cycle(MARKERS), strict=False))
    seen: dict[str, int] = {}
    out = {}
    for row, method in pairs:
        i = seen[method] = seen.get(method, -1) + 1
        start = MARKERS.index(shape[method])
        marker = MARKERS[(start + 3 * i) % len(MARKERS)]
        out[row] = Look(_lighter(hue[method], min(0.5, 0.3 * i)), marker)
    return out


def readable(colour: str) -> str:
    """The colour, darkened until small text in it stands out on white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    while 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] > 105:
        parts = [round(0.92 * p) for p in parts]
    return "#" + "".join(f"{p:02x}" for p in parts)


def _lighter(colour: str, share: float) -> str:
    """`colour` mixed with a share of white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(p + (255 - p) * share):02x}" for p in parts)


@contextmanager
def style() -> Iterator[None]:
    """Everything inside is drawn in this style."""
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches. Not pyplot: nothing is kept and no window system is asked for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)  # it measures text
    return fig


def render(fig: Figure, form: str, dpi: int = 200) -> bytes:
    """The figure as the bytes of a png, svg or pdf, the same every time."""
    out = io.BytesIO()
    undated: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style():
        fig.savefig(out, format=form, dpi=dpi, metadata=undated[form])
    return out.getvalue()


def settle(fig: Figure) -> None:
    """Fix the layout, so that what is placed by its size in pixels stays where it is put."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")


def reference(ax: Axes, at: float, text: str, axis: str = "y", colour: str = SOFT) -> None:
    """A thin dashed line for the base or truth, named at its end inside the axes."""
    line = {"color": colour, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 1}
    if axis == "y":
        ax.axhline(at, **line)
        ax.annotate(text, (1, at), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
                    ha="right", va="bottom", fontsize=7.5, color=colour)  # fmt: skip
    else:
        ax.axvline(at, **line)
        ax.annotate(text, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                    ha="center", va="bottom", fontsize=7.5, color=colour)  # fmt: skip


Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def _overlap(a: Box, b: Box) -> float:
    """Area in square pixels that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def place_labels(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    avoid: Sequence[Box] = (),
) -> None:
    """Write each text near its point (data units), where it meets the fewest points, bars, labels and borders.

    `avoid` holds boxes in pixels, such as error bars. Call after `settle`. A label that had to move away from its point
    is tied to it by a thin line.
    """
    fig: Any = ax.get_figure()  # root= is newer than matplotlib 3.8
    assert fig is not None
    renderer, unit = fig.canvas.get_renderer(), fig.dpi / 72  # pyright: ignore[reportAttributeAccessIssue]
    frame = ax.get_window_extent(renderer)
    spots = [tuple(map(float, ax.transData.transform(p))) for p in points]
    taken: list[Box] = [(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y in spots]
    taken += avoid
    for i in sorted(range(len(texts)), key=lambda i: -spots[i][1]):
        x, y = spots[i]
        label = ax.annotate(texts[i], points[i], xytext=(0, 0), textcoords="offset points", zorder=6)
        label.set(ha="left", va="center", fontsize=8, color=readable(colours[i]))
        extent = label.get_window_extent(renderer)
        w, h = extent.width, extent.height
        best = None
        for far, (dx, dy) in itertools.product((6, 11, 18, 28, 40), _AROUND):
            left = x + dx * far * unit - (w if dx < 0 else w / 2 if dx == 0 else 0)
            bottom = y + dy * far * unit - h / 2
            box = (left, bottom, left + w, bottom + h)
            out = w * h - _overlap(box, (frame.x0, frame.y0, frame.x1, frame.y1))
            cost = sum(_overlap(box, b) for b in taken) + 3 * out + 1.5 * unit * far + (0 if dx > 0 else 0.5 * unit)
            if best is None or cost < best[0]:
                best = (cost, box, far)
        assert best is not None
        _, box, far = best
        taken.append(box)
        label.set_position(((box[0] - x) / unit, ((box[1] + box[3]) / 2 - y) / unit))
        if far > 11:
            near = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
            ends = ax.transData.inverted().transform([(x, y), near])
            ax.plot(ends[:, 0], ends[:, 1], color=colours[i], lw=0.6, zorder=2, scalex=False, scaley=False)


_AROUND = ((1, 0), (0, 1), (0, -1), (-1, 0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7))


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
