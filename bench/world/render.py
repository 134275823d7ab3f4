"""Rendering a scene: background, things, light, style; deterministic from a generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.world.canvas import skia
from bench.world.filters import blur
from bench.world.pen import COLOURS, PATTERNS, RGB, Look
from bench.world.scenes import SCENES, SIZE
from bench.world.styles import PRETRAIN
from bench.world.things import CLASSES, draw_thing

# Softness of the world's lens in px: without it one-pixel edges, which a 12-fold compressing autoencoder cannot
# keep, cost
# every picture 3 dB and tell nothing (docs/log.md).
LENS = 0.7
StyleFn = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Thing:
    """One object: its class, its look, and the words for colour and pattern that a caption may use."""

    cls: str
    look: Look
    colour_word: str | None = None

    @property
    def pattern(self) -> str:
        return self.look.pattern


@dataclass(frozen=True)
class Scene:
    """What a picture shows; positions, sizes and light are drawn from the generator given to `render`."""

    things: tuple[Thing, ...]
    scene: str
    style: str | StyleFn = "photo"
    jitter: float = field(default=1.0)  # 0 = centred and upright, 1 = the world's usual variation


def jittered(rgb: RGB, rng: np.random.Generator, amount: float = 10.0) -> RGB:
    """The named colour varies a little, so that it is a name and not one triple."""
    return tuple(int(np.clip(v + rng.uniform(-amount, amount), 0, 255)) for v in rgb)  # type: ignore[return-value]


def plain_thing(
    rng: np.random.Generator, cls: str | None = None, colour: str | None = None, pattern: str | None = None
) -> Thing:
    """An ordinary object of the base's world: a class, one of twelve colours, a pattern (plain in most)."""
    cls = cls or CLASSES[rng.integers(len(CLASSES))]
    colour = colour or list(COLOURS)[rng.integers(len(COLOURS))]
    pattern = pattern or ("plain" if rng.random() < 0.64 else PATTERNS[rng.integers(1, 4)])
    return Thing(cls, Look(jittered(COLOURS[colour], rng), pattern), colour)


def render(spec: Scene, rng: np.random.Generator) -> np.ndarray:
    """The picture of `spec` as uint8 (64, 64, 3), after its style."""
    canvas_array = np.zeros((SIZE, SIZE, 4), np.uint8)
    surface = skia.Surface(canvas_array)
    with surface as canvas:
        SCENES[spec.scene](canvas, rng)
    layer_array = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer = skia.Surface(layer_array)
    with layer as canvas:
        n, j = len(spec.things), spec.jitter
        for i, thing in enumerate(spec.things):
            size = rng.uniform(18.0, 22.0) if n == 1 else rng.uniform(12.5, 14.5)
            size = 20 * (1 - j) + size * j if n == 1 else size
            x = 32 + j * rng.uniform(-6, 6) if n == 1 else (17 if i == 0 else 47) + j * rng.uniform(-2, 2)
            y = 38 + j * rng.uniform(-3, 3) if n == 1 else 42 + j * rng.uniform(-3, 3)
            angle, flip = j * rng.uniform(-6, 6), bool(rng.random() < 0.3 * (j > 0))
            draw_thing(canvas, thing.cls, thing.look, x, y, size, angle, flip)
    # numpy surfaces hold RGBA with premultiplied alpha
    back = canvas_array[..., :3].astype(np.float32)
    front, mask = layer_array[..., :3].astype(np.float32), layer_array[..., 3:].astype(np.float32) / 255
    image = (front + back * (1 - mask)) / 255
    image = np.clip(image * _light(rng, spec.jitter), 0, 1)
    style = PRETRAIN[spec.style].fn if isinstance(spec.style, str) else spec.style
    image = blur(style(image.astype(np.float32), mask[..., 0], rng), LENS)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


_RAMP = np.linspace(-1, 1, SIZE, dtype=np.float32)


def _light(rng: np.random.Generator, amount: float) -> np.ndarray:
    """Gain, slight tint and a side-to-side gradient (64, 64, 3)."""
    gain = 1 + amount * rng.uniform(-0.1, 0.08)
    tint = 1 + amount * rng.uniform(-0.03, 0.03, 3).astype(np.float32)
    side = 1 + amount * rng.uniform(-0.1, 0.1) * _RAMP
    return (gain * side)[None, :, None] * tint[None, None, :]
