"""How every figure looks: one colour and marker per row in all of them, type and lines, on light and dark ground."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text


@dataclass(frozen=True)
class Theme:
    """The inks of a figure, as hexadecimal colours; `ground` is what a saved figure stands on, `edge` parts marks."""

    ink: str
    soft: str
    faint: str
    grid: str
    edge: str
    ground: str


INK, SOFT, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"
THEMES = {
    "light": Theme(INK, SOFT, FAINT, "#e9e9e9", "#ffffff", "white"),
    # Its ground is left transparent for whatever dark page or slide it lies on; the page's own is #171717.
    "dark": Theme("#e8e8e6", "#a3a3a0", "#4a4a4a", "#2e2e2e", "#171717", "none"),
}
_THEME: ContextVar[str] = ContextVar("theme", default="light")
# Okabe and Ito's colours that stand out on white (their yellow does not), told apart with every common colour vision.
COLOURS = {"lora": "#0072B2", "full": "#D55E00", "adapter": "#009E73", "bias": "#E69F00", "difffit": "#CC79A7"}
OTHERS = ("#56B4E9", "#7A5195", "#8C564B", "#4D4D4D", "#A3A500", "#00A0A0", "#B2182B", "#5E81AC")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p")
SIZES: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # a "$" in a method's name is a dollar
}
FILE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same everywhere
    "svg.hashsalt": "litmus",  # the same ids, hence the same file, every time
    "svg.fonttype": "path",  # looks the same without the font
    "pdf.fonttype": 42,  # TrueType: what conferences ask for
}


def theme() -> Theme:
    """The inks of the figure that is being drawn."""
    return THEMES[_THEME.get()]


@dataclass(frozen=True)
class Look:
    """A row's colour and marker; a `faint` one stays in the background where a figure would be too full."""

    colour: str
    marker: str
    faint: bool = False


def looks(rows: Iterable[tuple[str, str]], first: Iterable[str] = ()) -> dict[str, Look]:
    """Row -> its look, from (row, method) pairs: a hue per method, a lighter shade and another marker per variant.

    The methods in `first` choose their hues before the others, so that they share none while there are enough.
    """
    early = set(first)
    # The plain row of a method comes first.
    pairs = sorted(set(rows), key=lambda x: (x[1] not in early, x[1], x[0] != x[1], x[0]))
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


def luminance(colour: str) -> float:
    """Of `#rrggbb`, by its gamma-coded parts: 0 (black) to 255 (white)."""
    return sum(w * int(colour[i : i + 2], 16) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))


def readable(colour: str) -> str:
    """The colour, darkened or, on dark ground, lightened until small text in it stands out."""
    if _THEME.get() == "dark":
        while luminance(colour) < 150:
            colour = _lighter(colour, 0.08)
        return colour
    while luminance(colour) > 105:
        colour = "#" + "".join(f"{round(0.92 * int(colour[i : i + 2], 16)):02x}" for i in (1, 3, 5))
    return colour


def visible(given: Mapping[str, Look]) -> dict[str, Look]:
    """The looks in the shades that the ground of the figure being drawn asks for: no dark mark on dark ground."""

    def shade(colour: str) -> str:
        while _THEME.get() == "dark" and luminance(colour) < 115:
            colour = _lighter(colour, 0.08)
        return colour

    return {row: replace(look, colour=shade(look.colour)) for row, look in given.items()}


def _lighter(colour: str, share: float) -> str:
    """`colour` mixed with a share of white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(p + (255 - p) * share):02x}" for p in parts)


@contextmanager
def style(name: str | None = None, own_font: bool = True) -> Iterator[None]:
    """Everything inside is drawn in this style on `light` or `dark` ground (None: as around it).

    Without `own_font` the family of fonts is whatever is set outside, for axes that are somebody else's.
    """
    import matplotlib

    token = _THEME.set(name or _THEME.get())
    t = theme()
    inks: dict[Any, Any] = {
        "axes.facecolor": "none",
        "axes.labelcolor": t.ink,
        "axes.titlecolor": t.ink,
        "axes.edgecolor": t.soft,
        "xtick.color": t.soft,
        "ytick.color": t.soft,
        "xtick.labelcolor": t.ink,
        "ytick.labelcolor": t.ink,
        "grid.color": t.grid,
        "text.color": t.ink,
        "figure.facecolor": t.ground,
        "savefig.facecolor": t.ground,
    }
    try:
        with matplotlib.rc_context(SIZES | inks | (FILE if own_font else {})):
            yield
    finally:
        _THEME.reset(token)


def dress(ax: Axes) -> None:
    """Give `ax` the style, whatever was set when it was made; ticks keep it, which are made only when it is drawn."""
    t = theme()
    for side, spine in ax.spines.items():
        spine.set(color=t.soft, linewidth=SIZES["axes.linewidth"], visible=side in ("left", "bottom"))
    for which, width in (("major", SIZES["xtick.major.width"]), ("minor", SIZES["xtick.minor.width"])):
        ax.tick_params(which=which, color=t.soft, labelcolor=t.ink, labelsize=SIZES["font.size"], width=width)
    ax.tick_params(grid_color=t.grid, grid_linewidth=SIZES["grid.linewidth"])
    ax.set_axisbelow(True)
    ax.grid(False)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=t.ink, fontsize=SIZES["axes.labelsize"])


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches. Not pyplot: nothing is kept and no window system is asked for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)  # it measures text
    return fig


def root_figure(ax: Axes) -> Figure:
    """The whole figure that `ax` is part of, seen from a subfigure too (matplotlib 3.8 lacks get_figure(root=True))."""
    fig: Any = ax.get_figure()
    assert fig is not None
    return fig.figure


def panels(fig: Figure, down: int, across: int, **options: Any) -> Sequence[Axes]:
    """`fig.subplots` in the style, as a flat list row by row."""
    axes = list(fig.subplots(down, across, squeeze=False, **options).ravel())
    for ax in axes:
        dress(ax)
    return axes


def halo(text: Text) -> None:
    """Lay a veil in the colour of the ground between a text and the lines below it. Text stays text in files.

    On dark ground, whose colour nobody knows, there is none.
    """
    if theme().ground == "none":
        return
    text.set_bbox({"facecolor": theme().edge, "alpha": 0.7, "linewidth": 0, "pad": 0.4})


DPI = 200  # of the report's pictures


def render(fig: Figure, form: str, dpi: int = DPI, transparent: bool = False) -> bytes:
    """The figure as the bytes of a png, svg or pdf, the same every time."""
    out = io.BytesIO()
    undated: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style():
        ground = "none" if transparent else fig.get_facecolor()
        fig.savefig(out, format=form, dpi=dpi, metadata=undated[form], facecolor=ground)
    return out.getvalue()


def reference(ax: Axes, at: float, text: str, axis: str = "y", colour: str = "") -> None:
    """A thin dashed line for the base or truth, named at its right or upper end, inside what lies between the two."""
    colour = colour or theme().soft
    line = {"color": colour, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 1}
    if axis == "y":
        ax.axhline(at, **line)
        place = {"xy": (1, at), "xycoords": ("axes fraction", "data"), "xytext": (-2, 2), "ha": "right"}
    else:
        ax.axvline(at, **line)
        place = {
            "xy": (at, 1),
            "xycoords": ("data", "axes fraction"),
            "xytext": (0, 2),
            "ha": "left" if at < 0.5 else "right",
        }
    halo(ax.annotate(text, textcoords="offset points", va="bottom", fontsize=7.5, color=colour, zorder=4, **place))
