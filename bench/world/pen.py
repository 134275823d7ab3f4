"""The pen that draws things: parts are painted by role, so that one drawing serves every colour, pattern and trait."""

from __future__ import annotations

from dataclasses import dataclass

from bench.world.canvas import skia

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 38),
    "orange": (245, 134, 24),
    "yellow": (246, 214, 40),
    "green": (44, 154, 56),
    "cyan": (50, 202, 206),
    "blue": (36, 78, 214),
    "purple": (130, 48, 178),
    "pink": (246, 134, 180),
    "brown": (124, 74, 36),
    "black": (34, 34, 38),
    "white": (246, 246, 244),
    "gray": (138, 140, 146),
}
PATTERNS = ("plain", "striped", "dotted", "checkered")
EMBLEMS = ("star", "heart", "cross", "ring", "moon", "diamond")
ACCESSORIES = ("hat", "flag", "crown", "bow", "antenna", "propeller")
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How one thing is painted. Fields after `pattern` are the traits that no caption can say."""

    colour: RGB
    pattern: str = "plain"
    second: RGB | None = None  # two-part paint: colour of the part that is otherwise a darker body tone
    emblem: str | None = None
    emblem_colour: RGB = (255, 255, 255)
    accessory: str | None = None
    accessory_colour: RGB = (255, 255, 255)
    stretch: tuple[float, float] = (1.0, 1.0)  # odd proportion: width and height factors


def shade(c: RGB, f: float) -> RGB:
    """Darken (f < 1) towards black or lighten (f > 1) towards white."""
    if f <= 1:
        return tuple(int(v * f) for v in c)  # type: ignore[return-value]
    return tuple(int(255 - (255 - v) * (2 - f)) for v in c)  # type: ignore[return-value]


def luma(c: RGB) -> float:
    return (0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]) / 255


def colour4(c: RGB, alpha: float = 1.0) -> int:
    return skia.Color(c[0], c[1], c[2], int(255 * alpha))


def fill(c: RGB, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=colour4(c, alpha))


def line(c: RGB, width: float) -> skia.Paint:
    return skia.Paint(
        AntiAlias=True,
        Color=colour4(c),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeJoin=skia.Paint.kRound_Join,
        StrokeCap=skia.Paint.kRound_Cap,
    )


def poly(*points: tuple[float, float]) -> skia.Path:
    path = skia.Path()
    path.moveTo(*points[0])
    for p in points[1:]:
        path.lineTo(*p)
    path.close()
    return path


def ellipse(x: float, y: float, rx: float, ry: float) -> skia.Path:
    return skia.Path().addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))


def box(left: float, top: float, right: float, bottom: float, round_: float = 0.0) -> skia.Path:
    return skia.Path().addRoundRect(skia.Rect.MakeLTRB(left, top, right, bottom), round_, round_)


def curve(start: tuple[float, float], *quads: tuple[float, float, float, float]) -> skia.Path:
    """Closed path of quadratic arcs, each (control x, control y, end x, end y)."""
    path = skia.Path()
    path.moveTo(*start)
    for q in quads:
        path.quadTo(*q)
    path.close()
    return path


class Pen:
    """Draws parts in a box of [-1, 1]² (y down) on a canvas that is already placed, turned and scaled."""

    OUTLINE = 0.07  # unit lengths; about one pixel at the usual size

    def __init__(self, canvas: skia.Canvas, look: Look):
        self.canvas, self.look = canvas, look
        self.edge = shade(look.colour, 0.45) if luma(look.colour) > 0.2 else (96, 96, 104)

    def body(self, path: skia.Path) -> None:
        """The main part: its colour and pattern are what a caption names."""
        self.canvas.drawPath(path, fill(self.look.colour))
        if self.look.pattern != "plain":
            self.canvas.save()
            self.canvas.clipPath(path, True)
            self._pattern()
            self.canvas.restore()
        self.canvas.drawPath(path, line(self.edge, self.OUTLINE))

    def second(self, path: skia.Path) -> None:
        """The other part: a darker body tone, or its own colour in a two-part subject."""
        self.canvas.drawPath(path, fill(self.look.second or shade(self.look.colour, 0.62)))
        self.canvas.drawPath(path, line(self.edge, self.OUTLINE))

    def part(self, path: skia.Path, colour: RGB) -> None:
        """A part of fixed colour: wheels, windows, eyes."""
        self.canvas.drawPath(path, fill(colour))

    def stroke(self, path: skia.Path, colour: RGB | None = None, width: float = 0.14) -> None:
        self.canvas.drawPath(path, line(colour or self.look.colour, width))

    def _pattern(self) -> None:
        # dark on light and light on dark, so that a pattern shows on each of the twelve colours
        tone = shade(self.look.colour, 0.4) if luma(self.look.colour) > 0.55 else shade(self.look.colour, 1.75)
        paint = fill(tone)
        if self.look.pattern == "striped":
            for i in range(-4, 5):
                x = i * 0.5
                self.canvas.drawRect(skia.Rect.MakeLTRB(x, -1.4, x + 0.22, 1.4), paint)
        elif self.look.pattern == "dotted":
            for i in range(-4, 5):
                for j in range(-4, 5):
                    self.canvas.drawCircle(i * 0.42 + (j % 2) * 0.21, j * 0.36, 0.12, paint)
        else:
            for i in range(-5, 6):
                for j in range(-5, 6):
                    if (i + j) % 2:
                        self.canvas.drawRect(skia.Rect.MakeXYWH(i * 0.32, j * 0.32, 0.32, 0.32), paint)


def draw_emblem(pen: Pen, kind: str, x: float, y: float, r: float, colour: RGB) -> None:
    """A badge of radius `r` at (x, y) on the body; a contrasting disc keeps it readable on any paint."""
    back = (20, 20, 24) if luma(colour) > 0.5 else (250, 250, 250)
    pen.part(ellipse(x, y, r * 1.15, r * 1.15), back)
    if kind == "star":
        import math

        points = []
        for i in range(10):
            q = r if i % 2 == 0 else 0.42 * r
            a = math.pi * i / 5
            points.append((x + q * math.sin(a), y - q * math.cos(a)))
        pen.part(poly(*points), colour)
    elif kind == "heart":
        pen.part(
            curve(
                (x, y + 0.85 * r),
                (x - 1.3 * r, y - 0.1 * r, x - 0.5 * r, y - 0.65 * r),
                (x - 0.05 * r, y - 0.7 * r, x, y - 0.25 * r),
                (x + 0.05 * r, y - 0.7 * r, x + 0.5 * r, y - 0.65 * r),
                (x + 1.3 * r, y - 0.1 * r, x, y + 0.85 * r),
            ),
            colour,
        )
    elif kind == "cross":
        pen.part(box(x - 0.27 * r, y - 0.85 * r, x + 0.27 * r, y + 0.85 * r), colour)
        pen.part(box(x - 0.85 * r, y - 0.27 * r, x + 0.85 * r, y + 0.27 * r), colour)
    elif kind == "ring":
        pen.stroke(ellipse(x, y, 0.6 * r, 0.6 * r), colour, 0.42 * r)
    elif kind == "moon":
        pen.part(ellipse(x, y, 0.85 * r, 0.85 * r), colour)
        pen.part(ellipse(x + 0.42 * r, y - 0.2 * r, 0.65 * r, 0.65 * r), back)
    else:
        pen.part(poly((x, y - 0.95 * r), (x + 0.65 * r, y), (x, y + 0.95 * r), (x - 0.65 * r, y)), colour)


def draw_accessory(pen: Pen, kind: str, x: float, y: float, colour: RGB) -> None:
    """Something worn on top, standing on the point (x, y)."""
    dark = (40, 40, 46)
    if kind == "hat":
        pen.part(box(x - 0.42, y - 0.12, x + 0.42, y + 0.02, 0.05), colour)
        pen.part(box(x - 0.26, y - 0.52, x + 0.26, y - 0.1, 0.04), colour)
        pen.part(box(x - 0.26, y - 0.24, x + 0.26, y - 0.12), dark)
    elif kind == "flag":
        pen.stroke(skia.Path().moveTo(x, y).lineTo(x, y - 0.7), dark, 0.09)
        pen.part(poly((x, y - 0.72), (x + 0.52, y - 0.54), (x, y - 0.34)), colour)
    elif kind == "crown":
        pen.part(
            poly(
                (x - 0.36, y),
                (x - 0.4, y - 0.44),
                (x - 0.18, y - 0.22),
                (x, y - 0.52),
                (x + 0.18, y - 0.22),
                (x + 0.4, y - 0.44),
                (x + 0.36, y),
            ),
            colour,
        )
    elif kind == "bow":
        pen.part(poly((x, y - 0.14), (x - 0.44, y - 0.4), (x - 0.44, y + 0.12)), colour)
        pen.part(poly((x, y - 0.14), (x + 0.44, y - 0.4), (x + 0.44, y + 0.12)), colour)
        pen.part(ellipse(x, y - 0.14, 0.12, 0.12), dark)
    elif kind == "antenna":
        pen.stroke(skia.Path().moveTo(x, y).lineTo(x, y - 0.42), dark, 0.09)
        pen.part(ellipse(x, y - 0.5, 0.2, 0.2), colour)
    else:
        pen.stroke(skia.Path().moveTo(x, y).lineTo(x, y - 0.32), dark, 0.09)
        pen.part(ellipse(x - 0.3, y - 0.36, 0.3, 0.12), colour)
        pen.part(ellipse(x + 0.3, y - 0.36, 0.3, 0.12), colour)
