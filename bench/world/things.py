"""The 24 object classes of the pocket world, each a drawing in a box of [-1, 1]² with its emblem and top points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.world.canvas import skia
from bench.world.pen import Look, Pen, box, curve, draw_accessory, draw_emblem, ellipse, poly

DARK, GLASS, PALE = (44, 44, 50), (178, 220, 240), (250, 246, 232)


@dataclass(frozen=True)
class Kind:
    """A class of things: its drawing, where an emblem sits (x, y, radius) and where an accessory stands (x, y)."""

    draw: Callable[[Pen], None]
    emblem: tuple[float, float, float]
    top: tuple[float, float]


KINDS: dict[str, Kind] = {}


def kind(emblem: tuple[float, float, float], top: tuple[float, float]):
    def add(fn: Callable[[Pen], None]):
        KINDS[fn.__name__] = Kind(fn, emblem, top)
        return fn

    return add


def open_path(*points: tuple[float, float]) -> skia.Path:
    path = skia.Path().moveTo(*points[0])
    for p in points[1:]:
        path.lineTo(*p)
    return path


@kind(emblem=(-0.05, 0.2, 0.28), top=(-0.1, -0.55))
def car(p: Pen) -> None:
    p.second(poly((-0.6, -0.05), (-0.4, -0.55), (0.3, -0.55), (0.6, -0.05)))
    p.part(poly((-0.42, -0.08), (-0.29, -0.42), (-0.08, -0.42), (-0.08, -0.08)), GLASS)
    p.part(poly((0.04, -0.08), (0.04, -0.42), (0.22, -0.42), (0.42, -0.08)), GLASS)
    p.body(box(-0.98, -0.1, 0.98, 0.45, 0.16))
    for x in (-0.55, 0.55):
        p.part(ellipse(x, 0.48, 0.27, 0.27), DARK)
        p.part(ellipse(x, 0.48, 0.11, 0.11), (200, 200, 205))


@kind(emblem=(0.0, 0.47, 0.26), top=(0.0, -0.98))
def boat(p: Pen) -> None:
    p.stroke(open_path((0.0, 0.2), (0.0, -0.95)), (90, 62, 40), 0.1)
    p.second(poly((0.08, -0.92), (0.08, 0.08), (0.78, 0.08)))
    p.part(poly((-0.08, -0.6), (-0.08, 0.08), (-0.6, 0.08)), PALE)
    p.body(
        curve(
            (-1.0, 0.2), (0.0, 0.3, 1.0, 0.2), (0.75, 0.85, 0.5, 0.85), (0.0, 0.9, -0.5, 0.85), (-0.75, 0.8, -1.0, 0.2)
        )
    )


@kind(emblem=(0.42, 0.3, 0.26), top=(0.0, -0.95))
def house(p: Pen) -> None:
    p.body(box(-0.75, -0.2, 0.75, 0.9))
    p.second(poly((-0.98, -0.15), (0.0, -0.95), (0.98, -0.15)))
    p.part(box(-0.5, 0.2, -0.1, 0.9), (84, 54, 34))
    p.part(box(0.2, 0.08, 0.62, 0.48), GLASS)


@kind(emblem=(0.0, -0.35, 0.3), top=(0.0, -0.95))
def tree(p: Pen) -> None:
    p.second(box(-0.16, 0.2, 0.16, 0.95))
    p.body(
        skia.Op(
            skia.Op(ellipse(-0.4, -0.1, 0.5, 0.45), ellipse(0.4, -0.1, 0.5, 0.45), skia.PathOp.kUnion_PathOp),
            ellipse(0.0, -0.48, 0.52, 0.48),
            skia.PathOp.kUnion_PathOp,
        )
    )


@kind(emblem=(0.0, -0.35, 0.3), top=(0.0, -0.85))
def mushroom(p: Pen) -> None:
    p.second(curve((-0.25, 0.0), (-0.2, 0.5, -0.36, 0.9), (0.0, 1.0, 0.36, 0.9), (0.2, 0.5, 0.25, 0.0)))
    p.body(curve((-0.95, 0.1), (-0.9, -0.85, 0.0, -0.85), (0.9, -0.85, 0.95, 0.1), (0.0, 0.3, -0.95, 0.1)))


@kind(emblem=(0.0, -0.35, 0.26), top=(0.0, -0.98))
def flower(p: Pen) -> None:
    import math

    p.stroke(open_path((0.0, -0.2), (0.0, 0.98)), (52, 128, 52), 0.14)
    p.part(ellipse(0.3, 0.6, 0.28, 0.13), (52, 128, 52))
    p.part(ellipse(-0.3, 0.72, 0.28, 0.13), (52, 128, 52))
    for i in range(6):
        a = math.pi * i / 3
        p.body(ellipse(0.38 * math.sin(a), -0.35 - 0.38 * math.cos(a), 0.27, 0.27))
    p.second(ellipse(0.0, -0.35, 0.24, 0.24))


@kind(emblem=(0.15, 0.4, 0.27), top=(-0.42, -0.72))
def cat(p: Pen) -> None:
    p.stroke(curve_open((0.6, 0.7), (1.1, 0.4, 0.85, -0.2)), None, 0.17)
    p.body(ellipse(0.15, 0.45, 0.62, 0.48))
    p.body(poly((-0.82, -0.3), (-0.84, -0.92), (-0.45, -0.62)))
    p.body(poly((-0.02, -0.3), (0.0, -0.92), (-0.38, -0.62)))
    p.second(ellipse(-0.42, -0.3, 0.46, 0.4))
    for x in (-0.58, -0.26):
        p.part(ellipse(x, -0.34, 0.09, 0.11), (246, 246, 160))
        p.part(ellipse(x, -0.34, 0.04, 0.09), DARK)
    p.part(poly((-0.48, -0.16), (-0.36, -0.16), (-0.42, -0.08)), (230, 120, 130))


def curve_open(start: tuple[float, float], quad: tuple[float, float, float, float]) -> skia.Path:
    path = skia.Path().moveTo(*start)
    path.quadTo(*quad)
    return path


@kind(emblem=(0.0, 0.02, 0.28), top=(-0.1, -0.5))
def fish(p: Pen) -> None:
    p.second(poly((0.5, 0.0), (0.98, -0.5), (0.86, 0.0), (0.98, 0.5)))
    p.second(poly((-0.2, -0.4), (0.1, -0.72), (0.3, -0.35)))
    p.body(curve((-0.95, 0.02), (-0.2, -0.95, 0.62, 0.0), (-0.2, 0.95, -0.95, 0.02)))
    p.part(ellipse(-0.58, -0.1, 0.12, 0.12), PALE)
    p.part(ellipse(-0.6, -0.1, 0.06, 0.06), DARK)


@kind(emblem=(0.05, 0.12, 0.25), top=(-0.5, -0.75))
def bird(p: Pen) -> None:
    for x in (-0.1, 0.2):
        p.stroke(open_path((x, 0.5), (x, 0.92)), (226, 140, 30), 0.09)
    p.second(poly((0.5, 0.1), (1.0, -0.25), (0.98, 0.2)))
    p.body(ellipse(0.05, 0.12, 0.66, 0.5))
    p.body(ellipse(-0.5, -0.4, 0.36, 0.34))
    p.second(curve((-0.1, 0.0), (0.4, -0.35, 0.62, 0.1), (0.2, 0.45, -0.1, 0.0)))
    p.part(poly((-0.82, -0.48), (-1.0, -0.3), (-0.8, -0.26)), (240, 160, 30))
    p.part(ellipse(-0.56, -0.46, 0.08, 0.08), DARK)


@kind(emblem=(0.0, 0.34, 0.26), top=(0.0, -0.82))
def robot(p: Pen) -> None:
    p.stroke(open_path((-0.75, 0.1), (-0.92, 0.55)), (120, 122, 130), 0.16)
    p.stroke(open_path((0.75, 0.1), (0.92, 0.55)), (120, 122, 130), 0.16)
    p.part(box(-0.45, 0.7, -0.12, 0.98), DARK)
    p.part(box(0.12, 0.7, 0.45, 0.98), DARK)
    p.body(box(-0.66, -0.08, 0.66, 0.76, 0.08))
    p.second(box(-0.5, -0.82, 0.5, -0.14, 0.1))
    for x in (-0.22, 0.22):
        p.part(ellipse(x, -0.52, 0.13, 0.13), (250, 250, 210))
        p.part(ellipse(x, -0.52, 0.06, 0.06), DARK)
    p.part(box(-0.24, -0.32, 0.24, -0.23), DARK)


@kind(emblem=(-0.15, 0.15, 0.3), top=(-0.15, -0.55))
def mug(p: Pen) -> None:
    p.stroke(ellipse(0.6, 0.12, 0.3, 0.34), None, 0.17)
    p.body(box(-0.75, -0.5, 0.45, 0.8, 0.14))
    p.second(ellipse(-0.15, -0.5, 0.6, 0.16))


@kind(emblem=(0.0, 0.25, 0.3), top=(0.0, -0.78))
def teapot(p: Pen) -> None:
    p.stroke(curve_open((-0.55, -0.1), (-1.2, 0.1, -0.55, 0.55)), None, 0.15)
    p.body(poly((0.4, 0.42), (0.84, -0.35), (1.0, -0.3), (0.66, 0.6)))
    p.body(ellipse(0.0, 0.25, 0.68, 0.58))
    p.second(curve((-0.42, -0.2), (0.0, -0.7, 0.42, -0.2), (0.0, -0.08, -0.42, -0.2)))
    p.second(ellipse(0.0, -0.58, 0.14, 0.14))


@kind(emblem=(0.0, -0.42, 0.27), top=(0.0, -0.9))
def lamp(p: Pen) -> None:
    p.part(box(-0.07, 0.0, 0.07, 0.85), (110, 96, 80))
    p.second(ellipse(0.0, 0.86, 0.46, 0.13))
    p.body(poly((-0.36, -0.88), (0.36, -0.88), (0.8, 0.02), (-0.8, 0.02)))


@kind(emblem=(0.0, -0.5, 0.27), top=(0.0, -0.95))
def chair(p: Pen) -> None:
    for x in (-0.56, 0.56):
        p.stroke(open_path((x, 0.2), (x, 0.96)), (84, 58, 40), 0.14)
    p.body(box(-0.6, -0.95, 0.6, 0.05, 0.1))
    p.second(box(-0.78, 0.05, 0.78, 0.36, 0.06))


@kind(emblem=(0.0, 0.48, 0.2), top=(0.0, -0.85))
def clock(p: Pen) -> None:
    p.second(poly((-0.6, 0.98), (-0.45, 0.55), (-0.2, 0.7)))
    p.second(poly((0.6, 0.98), (0.45, 0.55), (0.2, 0.7)))
    p.body(ellipse(0.0, 0.0, 0.86, 0.84))
    p.part(ellipse(0.0, 0.0, 0.6, 0.58), PALE)
    p.stroke(open_path((0.0, 0.0), (0.0, -0.46)), DARK, 0.11)
    p.stroke(open_path((0.0, 0.0), (0.34, 0.12)), DARK, 0.11)


@kind(emblem=(0.0, -0.4, 0.26), top=(0.0, -0.9))
def umbrella(p: Pen) -> None:
    p.stroke(open_path((0.0, -0.1), (0.0, 0.78)), (110, 84, 60), 0.11)
    p.stroke(curve_open((0.0, 0.78), (0.04, 1.04, 0.3, 0.8)), (110, 84, 60), 0.11)
    p.body(
        curve(
            (-1.0, 0.02),
            (-0.85, -0.9, 0.0, -0.9),
            (0.85, -0.9, 1.0, 0.02),
            (0.66, -0.2, 0.34, 0.02),
            (0.0, -0.2, -0.34, 0.02),
            (-0.66, -0.2, -1.0, 0.02),
        )
    )
    p.second(curve((-0.34, 0.02), (-0.3, -0.7, 0.0, -0.9), (0.3, -0.7, 0.34, 0.02), (0.0, -0.2, -0.34, 0.02)))


@kind(emblem=(0.0, 0.3, 0.24), top=(0.0, -0.98))
def rocket(p: Pen) -> None:
    p.part(poly((-0.22, 0.7), (0.22, 0.7), (0.0, 1.0)), (255, 170, 40))
    p.second(poly((-0.36, 0.2), (-0.82, 0.82), (-0.34, 0.7)))
    p.second(poly((0.36, 0.2), (0.82, 0.82), (0.34, 0.7)))
    p.body(curve((0.0, -0.98), (0.58, -0.4, 0.36, 0.74), (0.0, 0.8, -0.36, 0.74), (-0.58, -0.4, 0.0, -0.98)))
    p.part(ellipse(0.0, -0.25, 0.2, 0.2), GLASS)


@kind(emblem=(0.0, -0.35, 0.3), top=(0.0, -0.98))
def balloon(p: Pen) -> None:
    for x in (-0.3, 0.3):
        p.stroke(open_path((x * 1.6, 0.1), (x, 0.68)), (90, 70, 50), 0.07)
    p.body(
        curve(
            (-0.78, -0.3),
            (-0.74, -0.98, 0.0, -0.98),
            (0.74, -0.98, 0.78, -0.3),
            (0.6, 0.2, 0.25, 0.36),
            (0.0, 0.42, -0.25, 0.36),
            (-0.6, 0.2, -0.78, -0.3),
        )
    )
    p.second(box(-0.32, 0.64, 0.32, 0.98, 0.05))


@kind(emblem=(0.0, 0.42, 0.27), top=(0.0, -0.98))
def guitar(p: Pen) -> None:
    p.part(box(-0.1, -0.8, 0.1, 0.0), (90, 58, 34))
    p.second(box(-0.2, -0.98, 0.2, -0.68, 0.04))
    p.body(skia.Op(ellipse(0.0, 0.46, 0.62, 0.5), ellipse(0.0, -0.08, 0.44, 0.36), skia.PathOp.kUnion_PathOp))
    p.part(ellipse(0.0, 0.12, 0.18, 0.18), DARK)


@kind(emblem=(-0.1, 0.05, 0.25), top=(-0.18, -0.9))
def boot(p: Pen) -> None:
    p.body(
        curve(
            (-0.55, -0.7),
            (-0.1, -0.78, 0.2, -0.7),
            (0.15, -0.1, 0.3, 0.15),
            (1.0, 0.2, 0.95, 0.68),
            (0.2, 0.7, -0.6, 0.68),
            (-0.5, 0.0, -0.55, -0.7),
        )
    )
    p.second(box(-0.62, -0.9, 0.27, -0.55, 0.06))
    p.part(box(-0.66, 0.66, 0.98, 0.86, 0.06), DARK)


@kind(emblem=(0.0, 0.2, 0.28), top=(0.0, -0.95))
def cactus(p: Pen) -> None:
    p.body(box(-0.92, -0.3, -0.58, 0.34, 0.16))
    p.body(box(0.58, -0.5, 0.92, 0.2, 0.16))
    p.body(box(-0.8, 0.12, 0.8, 0.4, 0.1))
    p.body(box(-0.32, -0.92, 0.32, 0.62, 0.3))
    p.second(poly((-0.56, 0.55), (0.56, 0.55), (0.42, 0.98), (-0.42, 0.98)))


@kind(emblem=(0.0, 0.05, 0.24), top=(0.0, -0.62))
def butterfly(p: Pen) -> None:
    for s in (-1, 1):
        p.body(curve((s * 0.06, 0.0), (s * 0.5, -1.25, s * 0.98, -0.6), (s * 0.95, 0.0, s * 0.06, 0.05)))
        p.second(curve((s * 0.06, 0.05), (s * 0.95, 0.1, s * 0.72, 0.72), (s * 0.3, 0.95, s * 0.06, 0.1)))
        p.stroke(open_path((0.0, -0.45), (s * 0.26, -0.85)), DARK, 0.06)
    p.part(ellipse(0.0, 0.05, 0.11, 0.55), DARK)


@kind(emblem=(0.1, -0.05, 0.3), top=(0.1, -0.6))
def turtle(p: Pen) -> None:
    p.second(ellipse(-0.78, 0.02, 0.24, 0.22))
    p.part(ellipse(-0.86, -0.04, 0.06, 0.06), DARK)
    for x in (-0.35, 0.52):
        p.second(box(x - 0.16, 0.2, x + 0.16, 0.66, 0.1))
    p.second(poly((0.7, 0.2), (1.0, 0.36), (0.7, 0.42)))
    p.body(curve((-0.62, 0.35), (-0.55, -0.62, 0.1, -0.62), (0.78, -0.62, 0.84, 0.35), (0.1, 0.48, -0.62, 0.35)))


@kind(emblem=(0.0, 0.3, 0.28), top=(0.0, -0.5))
def backpack(p: Pen) -> None:
    p.stroke(curve_open((-0.24, -0.7), (0.0, -1.2, 0.24, -0.7)), DARK, 0.12)
    p.body(curve((-0.62, 0.9), (-0.74, -0.78, 0.0, -0.78), (0.74, -0.78, 0.62, 0.9), (0.0, 0.98, -0.62, 0.9)))
    p.second(box(-0.42, -0.02, 0.42, 0.7, 0.12))
    p.part(box(-0.42, -0.34, 0.42, -0.22), DARK)


CLASSES = tuple(KINDS)


def draw_thing(
    canvas: skia.Canvas, name: str, look: Look, x: float, y: float, size: float, angle: float = 0.0, flip: bool = False
) -> None:
    """Draw class `name` centred at (x, y) px with half extent `size` px, turned by `angle` degrees."""
    spec, pen = KINDS[name], Pen(canvas, look)
    canvas.save()
    canvas.translate(x, y)
    canvas.rotate(angle)
    canvas.scale(size * look.stretch[0] * (-1 if flip else 1), size * look.stretch[1])
    spec.draw(pen)
    if look.emblem:
        draw_emblem(pen, look.emblem, *spec.emblem, look.emblem_colour)
    if look.accessory:
        draw_accessory(pen, look.accessory, *spec.top, look.accessory_colour)
    canvas.restore()
