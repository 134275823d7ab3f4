"""The ten scenes of the pocket world: backgrounds of 64×64 px with a ground line where things stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.world.canvas import skia
from bench.world.pen import RGB, colour4, curve, ellipse, fill, poly

SIZE = 64  # px a side of every picture
Draw = Callable[["skia.Canvas", np.random.Generator], None]


def sky(canvas: skia.Canvas, top: RGB, bottom: RGB, y0: float = 0, y1: float = SIZE) -> None:
    shader = skia.GradientShader.MakeLinear(points=[(0, y0), (0, y1)], colors=[colour4(top), colour4(bottom)])
    canvas.drawRect(skia.Rect.MakeLTRB(0, y0, SIZE, y1), skia.Paint(Shader=shader))


def hill(canvas: skia.Canvas, left: float, right: float, foot: float, peak: float, colour: RGB) -> None:
    mid = (left + right) / 2
    canvas.drawPath(curve((left, foot), (mid, 2 * peak - foot, right, foot)), fill(colour))


def beach(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 27 + r.uniform(-3, 3)
    sky(c, (96, 178, 244), (196, 230, 250), 0, y)
    c.drawCircle(r.uniform(6, 58), r.uniform(6, 13), 5, fill((255, 240, 150)))
    sky(c, (30, 120, 200), (60, 160, 220), y, y + 9)
    sky(c, (246, 224, 160), (232, 200, 130), y + 9, SIZE)


def forest(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 40 + r.uniform(-2, 2)
    sky(c, (150, 204, 160), (196, 226, 180), 0, y)
    for x in np.arange(0, 72, 11) + r.uniform(-4, 4, 7):
        h, w = r.uniform(22, 34), r.uniform(6, 9)
        c.drawPath(poly((x - w, y + 2), (x, y - h), (x + w, y + 2)), fill((24, 84 + int(r.integers(0, 24)), 44)))
    sky(c, (66, 120, 54), (44, 92, 40), y, SIZE)


def desert(c: skia.Canvas, r: np.random.Generator) -> None:
    sky(c, (252, 186, 100), (254, 226, 168), 0, 40)
    c.drawCircle(r.uniform(6, 58), r.uniform(7, 14), 6, fill((255, 120, 60)))
    a = r.uniform(-10, 10)
    hill(c, -26 + a, 44 + a, 46, 30, (226, 156, 84))
    hill(c, 22 + a, 92 + a, 46, 33, (212, 140, 70))
    sky(c, (230, 164, 92), (198, 124, 62), 40, SIZE)


def snow(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 36 + r.uniform(-3, 3)
    sky(c, (176, 196, 220), (214, 226, 240), 0, y)
    hill(c, -20, 34, y + 4, y - 10, (232, 238, 248))
    hill(c, 24, 84, y + 4, y - 7, (226, 234, 246))
    sky(c, (244, 248, 254), (222, 230, 244), y, SIZE)
    for x, v in r.uniform(2, 62, (12, 2)):
        c.drawCircle(float(x), float(v), 1.3, fill((255, 255, 255)))


def city(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 42 + r.uniform(-2, 2)
    sky(c, (150, 158, 186), (206, 200, 204), 0, y)
    x = r.uniform(-8, 0)
    while x < SIZE:
        w, h = r.uniform(9, 14), r.uniform(16, 34)
        g = int(r.integers(78, 118))
        c.drawRect(skia.Rect.MakeLTRB(x, y - h, x + w, y), fill((g, g, g + 18)))
        for wy in np.arange(y - h + 3, y - 4, 6):
            for wx in (x + 2, x + w - 4.5):
                c.drawRect(skia.Rect.MakeXYWH(float(wx), float(wy), 2.5, 3), fill((250, 226, 140)))
        x += w + 1.5
    sky(c, (74, 74, 82), (56, 56, 64), y, SIZE)
    c.drawRect(skia.Rect.MakeLTRB(0, 54, SIZE, 55.5), fill((230, 230, 220)))


def room(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 42 + r.uniform(-2, 2)
    sky(c, (236, 214, 190), (222, 196, 168), 0, y)
    x = r.uniform(4, 44)
    c.drawRect(skia.Rect.MakeXYWH(x, 6, 17, 15), fill((250, 250, 246)))
    c.drawRect(skia.Rect.MakeXYWH(x + 2, 8, 13, 11), fill((140, 200, 240)))
    c.drawRect(skia.Rect.MakeXYWH(x + 7.5, 8, 2, 11), fill((250, 250, 246)))
    sky(c, (150, 96, 58), (122, 74, 42), y, SIZE)


def night(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 44 + r.uniform(-3, 3)
    sky(c, (12, 14, 52), (40, 42, 100), 0, y)
    for x, v in r.uniform(1, 63, (11, 2)):
        c.drawCircle(float(x), float(v) * 0.6, 1.0, fill((255, 255, 220)))
    x, v = r.uniform(8, 56), r.uniform(8, 14)
    c.drawCircle(x, v, 6, fill((250, 246, 210)))
    c.drawCircle(x + 3, v - 1.5, 5, fill((18, 20, 62)))
    sky(c, (24, 34, 56), (14, 22, 40), y, SIZE)


def underwater(c: skia.Canvas, r: np.random.Generator) -> None:
    sky(c, (64, 190, 210), (10, 70, 130))
    for x in r.uniform(-4, 60, 3):
        c.drawPath(poly((x, 0), (x + 6, 0), (x + 14, 56), (x - 2, 56)), fill((255, 255, 255), 0.13))
    for x, v in r.uniform(3, 61, (8, 2)):
        c.drawCircle(float(x), float(v), float(r.uniform(1.2, 2.2)), fill((210, 244, 250), 0.7))
    hill(c, -12, 76, 70, 55, (196, 178, 120))
    for x in (r.uniform(3, 16), r.uniform(48, 61)):
        c.drawPath(curve((x - 2, 62), (x - 8, 46, x, 32), (x + 6, 48, x + 2, 62)), fill((24, 120, 84)))


def mountains(c: skia.Canvas, r: np.random.Generator) -> None:
    sky(c, (130, 190, 236), (214, 234, 244), 0, 44)
    a = r.uniform(-8, 8)
    for x, peak, w in ((12 + a, 12, 26), (50 + a, 7, 30)):
        c.drawPath(poly((x - w, 46), (x, peak), (x + w, 46)), fill((104, 104, 126)))
        k = 0.34
        c.drawPath(poly((x - w * k, peak + 34 * k), (x, peak), (x + w * k, peak + 34 * k)), fill((246, 248, 252)))
    sky(c, (122, 150, 92), (92, 120, 70), 44, SIZE)


def meadow(c: skia.Canvas, r: np.random.Generator) -> None:
    y = 34 + r.uniform(-3, 3)
    sky(c, (150, 214, 250), (226, 244, 252), 0, y)
    x = r.uniform(8, 56)
    for dx, dy, q in ((-6, 1, 4), (0, -1, 5.5), (6, 1, 4)):
        c.drawPath(ellipse(x + dx, 10 + dy, q * 1.2, q), fill((255, 255, 255)))
    sky(c, (150, 212, 80), (106, 178, 58), y, SIZE)
    for x, v in r.uniform(0, 1, (14, 2)):
        colour = ((250, 90, 110), (255, 226, 70), (255, 255, 255))[int(r.integers(0, 3))]
        c.drawCircle(64 * float(x), y + 4 + (58 - y) * float(v), 1.5, fill(colour))


SCENES: dict[str, Draw] = {
    f.__name__: f for f in (beach, forest, desert, snow, city, room, night, underwater, mountains, meadow)
}
PHRASES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "desert": "in the desert",
    "snow": "in the snow",
    "city": "in the city",
    "room": "in a room",
    "night": "at night",
    "underwater": "under water",
    "mountains": "in the mountains",
    "meadow": "in a meadow",
}
