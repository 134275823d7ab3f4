"""Named image styles: 8 that the world is pretrained with and 12 that are held out.

A style is fn(image, mask, rng) -> image: image float32 (64, 64, 3) in [0, 1] is a finished rendering, mask float32
(64, 64) in [0, 1] is the object's coverage. The generator only moves phases and grain; the look itself never changes.
No texture is finer than about 3 px, because the world is seen through a 12x-compressing autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.world import filters as f
from bench.world.filters import Array, colour

StyleFn = Callable[[Array, Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Style:
    """A pretraining style; keeps_colour tells whether the object's own colour can still be named."""

    name: str
    fn: StyleFn
    keeps_colour: bool


@dataclass(frozen=True)
class HeldOutStyle:
    """A style never shown in pretraining; split is "test" or "tuning"."""

    name: str
    fn: StyleFn
    split: str


SEPIA = np.stack([colour(38, 20, 8), colour(150, 104, 60), colour(250, 228, 184)])
NEON = np.stack([colour(255, 30, 200), colour(60, 120, 255), colour(20, 255, 220)])
THERMAL = np.stack(
    [
        colour(10, 10, 90),
        colour(20, 90, 230),
        colour(30, 200, 170),
        colour(240, 230, 40),
        colour(250, 110, 10),
        colour(200, 10, 20),
    ]
)
SUNSET = np.stack([colour(52, 10, 84), colour(196, 40, 120), colour(255, 140, 60), colour(255, 226, 150)])


# ---- pretraining ----------------------------------------------------------------------------------------------------


def photo(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """The rendering itself."""
    return f.clip(image)


def sketch(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Black pencil lines on near-white paper, a little shading."""
    line = f.edges(image, mask, 0.08, 0.35, 1.0)
    shade = 0.97 - 0.16 * (1.0 - f.luminance(image))
    grey = shade * (1.0 - rng.uniform(0.85, 0.95) * line)
    return f.clip(np.repeat(grey[..., None], 3, axis=2))


def neon(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Glowing saturated edge lines on near-black."""
    line = f.edges(image, mask, 0.10, 0.40, 1.0)
    hue = f.colour_map(f.normalise(f.blur(f.luminance(image), 2.0)), NEON)
    light = line[..., None] * f.mix(hue, np.clip(f.saturate(image, 2.5), 0.0, 1.0), 0.35)
    return f.clip(0.05 * image + light + rng.uniform(0.9, 1.1) * f.blur(light, 2.0))


def pixel(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """4x4-pixel blocks, slightly posterised."""
    height, width, _ = image.shape
    small = image.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3))
    return f.clip(f.posterise(small, 9).repeat(4, axis=0).repeat(4, axis=1))


def sepia(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Old brown photograph with darkened corners."""
    dark = 1.0 - rng.uniform(0.30, 0.40) * f.vignette(mask.shape)
    return f.clip(f.colour_map(f.normalise(f.luminance(image), 0.5), SEPIA) * dark[..., None])


def comic(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Flat, saturated colours inside dark thick outlines."""
    flat = f.posterise(np.clip(1.1 * f.saturate(f.blur(image, 0.6), 1.8) - 0.02, 0.0, 1.0), 4)
    line = np.clip(1.9 * f.blur(f.edges(image, mask, 0.22, 0.50, 1.0), 0.8), 0.0, 1.0)
    return f.clip(f.mix(flat, colour(12, 8, 20), rng.uniform(0.94, 1.0) * line))


def pastel(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Pale and soft, washed towards a pinkish white."""
    return f.clip(f.mix(f.blur(f.saturate(image, 1.2), 1.1), colour(255, 236, 242), rng.uniform(0.60, 0.66)))


def negative(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Inverted colours."""
    return f.clip(1.0 - image)


# ---- held out -------------------------------------------------------------------------------------------------------


def watercolour(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Bleeding washes with dark pigment rims and blotches, fading into an irregular white margin."""
    shape = mask.shape
    wet = f.blur(f.warp(image, 1.5 * f.noise(shape, 8.0, rng), 1.5 * f.noise(shape, 8.0, rng)), 1.0)
    rim = np.clip(f.blur(f.gradient(f.luminance(wet)), 0.8) * 2.0, 0.0, 1.0)
    pigment = 0.80 - 0.10 * f.noise(shape, 9.0, rng) + 0.25 * rim
    margin = f.smoothstep(f.border_distance(shape) + 2.0 * f.noise(shape, 7.0, rng), 2.5, 6.5)
    wash = 1.0 - np.clip(1.0 - f.saturate(wet, 1.35), 0.0, 1.0) * (pigment * margin)[..., None]
    return f.clip(wash * colour(253, 251, 244))


def halftone(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Round dots at 45 degrees, their size from darkness and their ink from the local colour, on newsprint."""
    screen = f.dot_wave(mask.shape, 8.0, np.pi / 4, (rng.random(), rng.random()))
    soft = f.blur(image, 0.8)
    area = 0.30 + 0.45 * (1.0 - f.normalise(f.luminance(soft), 0.6))
    dot = f.smoothstep(screen - (1.0 - area), -0.16, 0.16)
    ink = np.clip(0.78 * f.saturate(soft, 1.6), 0.0, 1.0)
    return f.clip(f.mix(f.mix(colour(250, 246, 232), soft, 0.42), ink, dot))


def woodcut(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Brown carved lines on cream, 8 px apart, thick where dark; the object is carved across the grain."""
    phase, bend = rng.random(), 0.12 * f.noise(mask.shape, 16.0, rng)
    inside = f.line_wave(mask.shape, 8.0, np.pi / 4, phase + bend)
    outside = f.line_wave(mask.shape, 8.0, 0.0, phase + bend)
    wave = outside + (inside - outside) * (mask > 0.5)
    dark = 0.12 + 0.72 * (1.0 - f.normalise(f.luminance(image), 0.8))
    ink = 0.62 * f.smoothstep(wave - (1.0 - dark), -0.22, 0.22)
    ink = np.maximum(ink, f.thicken(f.smoothstep(f.gradient(mask), 0.3, 0.8)))
    return f.clip(f.mix(colour(238, 218, 180), colour(58, 34, 24), f.blur(ink, 0.6)))


def stainedglass(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Saturated irregular panes between black leads, with a lead around the object."""
    labels, border = f.voronoi(mask.shape, 14.0, rng)
    inside = mask > 0.5
    pane = f.cell_average(image, 2 * labels + inside)
    glow = (0.12 * f.cell_values(labels, rng) + 1.12)[..., None]
    glass = np.clip(f.saturate(pane * glow, 2.0) + 0.06, 0.0, 1.0)
    lead = np.maximum(1.0 - f.smoothstep(border, 0.3, 1.1), f.smoothstep(f.gradient(mask), 0.3, 0.8))
    return f.clip(f.mix(f.blur(glass, 0.5), colour(34, 30, 40), 0.85 * f.blur(lead, 0.5)))


def blueprint(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Pale construction lines on blue paper ruled every 8 px."""
    ruled = f.grid_lines(mask.shape, 8.0, 1.2, 0.0, (rng.random(), rng.random()))
    line = f.edges(image, mask, 0.08, 0.35, 1.0)
    paper = f.mix(colour(16, 52, 140), colour(40, 92, 186), f.luminance(image))
    return f.clip(f.mix(f.mix(paper, colour(120, 168, 232), 0.35 * ruled), colour(206, 226, 250), 0.9 * line))


def chalk(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Rough chalk on a green blackboard: thick broken outlines and rubbed, hatched colour in the object."""
    shape = mask.shape
    grain = f.noise(shape, 3.0, rng)
    line = f.blur(f.thicken(f.edges(image, mask, 0.12, 0.45, 1.0)), 0.6) * np.clip(0.85 + 0.3 * grain, 0.0, 1.0)
    hatch = f.smoothstep(f.line_wave(shape, 5.0, -np.pi / 4, rng.random()), 0.25, 0.75)
    fill = mask * (0.25 + 0.5 * hatch) + 0.22 * f.luminance(image) * (1.0 - mask) * (1.0 + 0.4 * grain)
    stick = f.mix(np.clip(f.saturate(image, 1.4), 0.0, 1.0), colour(255, 255, 250), 0.40)
    board = colour(30, 62, 50) + 0.02 * f.noise(shape, 12.0, rng)[..., None]
    drawn = f.mix(board, stick, np.clip(fill, 0.0, 1.0))
    return f.clip(f.mix(drawn, colour(250, 250, 240), np.clip(line, 0.0, 1.0)))


def mosaic(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Square stone tiles of 8 px, each of a slightly different tone, in pale grout."""
    phase = (rng.random(), rng.random())
    labels, border = f.tiles(mask.shape, (8.0, 8.0), 0.0, phase)
    tone = (1.0 + 0.16 * f.cell_values(labels, rng))[..., None]
    stone = np.clip(f.cell_average(f.saturate(image, 1.15), 2 * labels + (mask > 0.5)) * tone * 0.95, 0.0, 1.0)
    return f.clip(f.mix(stone, colour(196, 188, 176), 0.8 - 0.8 * f.smoothstep(border, 0.4, 1.2)))


def thermal(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Heat camera: a soft rainbow of luminance in which the object is warm."""
    light = f.normalise(f.luminance(image), 0.7)
    cold, warm = 0.03 + 0.48 * light, 0.64 + 0.36 * light
    heat = cold + (warm - cold) * mask
    return f.clip(f.colour_map(f.blur(heat, 1.3) + rng.uniform(-0.02, 0.02), THERMAL))


def risograph(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Two inks, fluorescent pink and teal, printed out of register with blotchy coverage."""
    pink = f.shift(1.0 - f.normalise(image[..., 2], 0.6), 1, 2)
    teal = f.shift(1.0 - f.normalise(image[..., 0], 0.6), -1, -2)
    blotch = 1.0 + 0.08 * f.noise(mask.shape, 3.5, rng)
    outline = f.smoothstep(f.gradient(mask), 0.3, 0.8)
    pink = np.clip(1.25 * pink * blotch - 0.1, 0.0, 0.95)
    teal = np.clip(np.maximum(1.25 * teal * blotch - 0.1, 0.9 * f.shift(outline, -1, -2)), 0.0, 0.95)
    paper = colour(250, 246, 236)
    return f.clip(f.mix(paper, colour(255, 72, 130), pink) * f.mix(np.ones(3, np.float32), colour(0, 150, 150), teal))


def embroidery(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Diagonal satin stitches 6 px wide and 14 px long, shiny along their middle."""
    labels, border = f.tiles(mask.shape, (14.0, 6.0), -np.pi / 4, (rng.random(), rng.random()), 0.5)
    thread = f.cell_average(f.saturate(image, 1.4), 2 * labels + (mask > 0.5))
    shine = 0.68 + 0.42 * f.smoothstep(border, 0.0, 2.4) + 0.10 * f.cell_values(labels, rng)
    return f.clip(np.clip(thread, 0.04, 0.96) * shine[..., None])


def charcoal(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Smudged black on grey paper: broad soft strokes and heavy tone."""
    grain = f.noise(mask.shape, 3.2, rng)
    line = f.blur(f.thicken(f.edges(image, mask, 0.12, 0.45, 1.0)), 1.0)
    tone = 0.70 * f.normalise(f.blur(f.luminance(image), 1.2)) + 0.06 + 0.035 * grain
    grey = tone * (1.0 - np.clip(1.15 * line, 0.0, 1.0))
    return f.clip(grey[..., None] * colour(255, 252, 246))


def sunset(image: Array, mask: Array, rng: np.random.Generator) -> Array:
    """Duotone: violet shadows, amber lights, more violet towards the bottom."""
    height = 0.5 - f.grid(mask.shape)[0] / (mask.shape[0] - 1)
    return f.clip(f.colour_map(f.normalise(f.luminance(image), 0.8) + rng.uniform(0.22, 0.28) * height, SUNSET))


_KEEPS_COLOUR = frozenset({"photo", "pixel", "comic", "pastel"})

PRETRAIN: dict[str, Style] = {
    fn.__name__: Style(fn.__name__, fn, fn.__name__ in _KEEPS_COLOUR)
    for fn in (photo, sketch, neon, pixel, sepia, comic, pastel, negative)
}

HELD_OUT: dict[str, HeldOutStyle] = {
    fn.__name__: HeldOutStyle(fn.__name__, fn, split)
    for split, fns in {
        "test": (watercolour, halftone, woodcut, stainedglass, blueprint, chalk, mosaic, thermal),
        "tuning": (risograph, embroidery, charcoal, sunset),
    }.items()
    for fn in fns
}
