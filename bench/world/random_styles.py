"""A procedural family of style identities: random_style(seed) composes one to three randomly parametrised operations.

Used to train evaluators and the autoencoder, so that they meet many looks without ever seeing a held-out one. Every
operation is op(image, mask, rng, **parameters); all that identifies the look is in the parameters, drawn once per seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage

from bench.world import filters as f
from bench.world.filters import Array

Rng = np.random.Generator


# ---- main operations: each alone already makes a look ---------------------------------------------------------------


def gradient_map(image: Array, mask: Array, rng: Rng, stops: Array, level: float, lift: float) -> Array:
    """Luminance through a random palette; lift brightens or darkens the object so that it stays visible."""
    tone = f.normalise(f.luminance(image), level) * (1.0 - abs(lift))
    return f.colour_map(tone + lift * mask + max(-lift, 0.0), stops)


def channel_mix(image: Array, mask: Array, rng: Rng, matrix: Array, bias: Array) -> Array:
    """A linear change of colours: hue rotations, swaps, partial inversions."""
    return (image - 0.5) @ matrix + 0.5 + bias


def flat_levels(
    image: Array, mask: Array, rng: Rng, levels: int, sigma: float, saturation: float, tint: Array
) -> Array:
    """Posterised, smoothed and tinted."""
    smooth = np.clip(f.saturate(f.blur(image, sigma), saturation), 0.0, 1.0)
    return f.posterise(smooth, levels) * tint


def line_art(
    image: Array, mask: Array, rng: Rng, ink: Array, paper: Array, thick: bool, low: float, keep: float, soft: float
) -> Array:
    """Edge lines of one colour over paper that lets some of the picture through."""
    line = f.edges(image, mask, low, low + 0.3, 1.0)
    if thick:
        line = f.thicken(line)
    line = np.clip(1.4 * f.blur(line, soft), 0.0, 1.0)
    return f.mix(f.mix(paper, image, keep), ink, line)


def glow(image: Array, mask: Array, rng: Rng, night: Array, light: Array, sigma: float, keep: float) -> Array:
    """Light spreading from edges into a darkened or coloured night."""
    line = f.edges(image, mask, 0.12, 0.45, 1.0)
    halo = np.clip(line + 1.2 * f.blur(line, sigma), 0.0, 1.0)
    return f.mix(f.mix(night, image, keep), light, halo)


def screen(
    image: Array, mask: Array, rng: Rng, kind: str, pitch: float, angle: float, ink: Array, paper: Array, own: float
) -> Array:
    """Dots, lines or squares whose size follows darkness; own mixes the picture's colours into the ink."""
    shape, tone = mask.shape, 1.0 - f.normalise(f.luminance(f.blur(image, 0.8)), 0.7)
    if kind == "dots":
        wave = f.dot_wave(shape, pitch, angle, (rng.random(), rng.random()))
    elif kind == "lines":
        wave = f.line_wave(shape, pitch, angle, rng.random())
    else:
        first = f.line_wave(shape, pitch, angle, rng.random())
        wave = np.maximum(first, f.line_wave(shape, pitch, angle + np.pi / 2, rng.random())) ** 1.5
    covered = f.smoothstep(wave - 0.85 + 0.7 * tone, -0.12, 0.12)
    return f.mix(f.mix(paper, image, 0.5 * own), f.mix(ink, image * 0.8, own), covered)


def cells(
    image: Array,
    mask: Array,
    rng: Rng,
    kind: str,
    pitch: float,
    stretch: float,
    angle: float,
    brick: float,
    gap: float,
    joint: Array,
    variation: float,
    cut: bool,
    saturation: float,
) -> Array:
    """The picture in flat tiles, bricks or voronoi cells with coloured joints; cut splits cells at the object."""
    if kind == "voronoi":
        labels, border = f.voronoi(mask.shape, pitch, rng)
    else:
        labels, border = f.tiles(mask.shape, (pitch * stretch, pitch), angle, (rng.random(), rng.random()), brick)
    flat = f.cell_average(f.saturate(image, saturation), 2 * labels + (mask > 0.5) if cut else labels)
    flat = np.clip(flat * (1.0 + variation * f.cell_values(labels, rng))[..., None], 0.0, 1.0)
    if gap == 0.0:
        return flat
    return f.mix(flat, joint, 1.0 - f.smoothstep(border, gap - 0.5, gap + 0.4))


def misregistration(image: Array, mask: Array, rng: Rng, moves: Array, inks: Array, paper: Array) -> Array:
    """Channels printed apart in two or three inks, each multiplied onto the paper."""
    out = paper
    for channel, ((dy, dx), ink) in enumerate(zip(moves, inks, strict=True)):
        amount = f.shift(1.0 - f.normalise(image[..., channel], 0.5), int(dy), int(dx))
        out = out * f.mix(np.ones(3, np.float32), ink, amount)
    return out


def relief(image: Array, mask: Array, rng: Rng, angle: float, strength: float, base: Array, keep: float) -> Array:
    """Embossed: lit from one side, over plain or pictorial ground."""
    height = f.blur(f.luminance(image) + 0.5 * mask, 0.8)
    dy, dx = round(1.5 * np.sin(angle)), round(1.5 * np.cos(angle))
    slope = f.shift(height, dy, dx) - f.shift(height, -dy, -dx)
    return f.mix(base, image, keep) + strength * slope[..., None]


def smear(image: Array, mask: Array, rng: Rng, size: int, wobble: float, period: float) -> Array:
    """Brush-like: rank-filtered patches pushed about by smooth noise."""
    if size > 1:
        image = np.stack([ndimage.minimum_filter(image[..., c], size) for c in range(3)], axis=2)
    dy, dx = wobble * f.noise(mask.shape, period, rng), wobble * f.noise(mask.shape, period, rng)
    return f.blur(f.warp(image, dy, dx), 0.6)


# ---- finishing operations -------------------------------------------------------------------------------------------


def grain(image: Array, mask: Array, rng: Rng, period: float, amount: float, tint: Array) -> Array:
    """Paper grain of one tint."""
    return image + (amount * f.noise(mask.shape, period, rng))[..., None] * tint


def wash(image: Array, mask: Array, rng: Rng, tint: Array, amount: float, contrast: float) -> Array:
    """Changed contrast, then a veil of one colour."""
    return f.mix((image - 0.5) * contrast + 0.5, tint, amount)


def frame(image: Array, mask: Array, rng: Rng, tint: Array, width: float, softness: float, rough: float) -> Array:
    """A margin of one colour, clean or torn."""
    distance = f.border_distance(mask.shape) + rough * f.noise(mask.shape, 6.0, rng)
    return f.mix(tint, image, f.smoothstep(distance, width - softness, width + softness))


def corners(image: Array, mask: Array, rng: Rng, tint: Array, amount: float) -> Array:
    """Vignette towards a colour."""
    return f.mix(image, tint, amount * f.vignette(mask.shape))


def overlay(
    image: Array, mask: Array, rng: Rng, kind: str, pitch: float, angle: float, tint: Array, amount: float
) -> Array:
    """An even texture laid over everything: stripes, dots or ruled squares."""
    if kind == "dots":
        cover = f.smoothstep(f.dot_wave(mask.shape, pitch, angle, (rng.random(), rng.random())), 0.55, 0.8)
    elif kind == "lines":
        cover = f.smoothstep(f.line_wave(mask.shape, pitch, angle, rng.random()), 0.4, 0.75)
    else:
        cover = f.grid_lines(mask.shape, pitch + 1.0, 1.3, angle, (rng.random(), rng.random()))
    return f.mix(image, tint, amount * cover)


# ---- random parameters ----------------------------------------------------------------------------------------------


def _rgb(r: Rng) -> Array:
    """A random colour: one vivid, dark or pale in equal parts."""
    base = r.random(3)
    kind = r.integers(3)
    if kind == 0:
        base = (base - base.min()) / max(np.ptp(base), 1e-3)
    elif kind == 1:
        base = 0.3 * base
    else:
        base = 0.75 + 0.25 * base
    return base.astype(np.float32)


def _apart(r: Rng, other: Array, least: float = 0.45) -> Array:
    """A random colour whose luminance differs clearly from another's, so that drawings stay readable."""
    for _ in range(50):
        candidate = _rgb(r)
        if abs(float((candidate - other) @ f.LUMA)) > least:
            return candidate
    return np.full(3, 0.0 if float(other @ f.LUMA) > 0.5 else 1.0, np.float32)


def _stops(r: Rng) -> Array:
    """2-5 palette colours, neighbours apart."""
    stops = [_rgb(r)]
    for _ in range(int(r.integers(1, 5))):
        stops.append(_apart(r, stops[-1], 0.25))
    return np.stack(stops)


def _matrix(r: Rng) -> Array:
    """A random rotation or reflection of colour space: contrast survives, hues do not."""
    matrix, _ = np.linalg.qr(r.standard_normal((3, 3)))
    if (np.abs(matrix).max(axis=1) > 0.9).all() and matrix.trace() > 2.0:
        matrix = matrix[:, [1, 2, 0]]
    return (matrix * r.uniform(0.9, 1.3)).astype(np.float32)


def _draw_line_art(r: Rng) -> dict[str, Any]:
    paper = _rgb(r)
    return dict(
        ink=_apart(r, paper),
        paper=paper,
        thick=bool(r.integers(2)),
        low=r.uniform(0.06, 0.2),
        keep=float(r.choice([0.05, 0.15, 0.35, 0.6])),
        soft=round(r.uniform(0.4, 0.8), 1),
    )


def _draw_glow(r: Rng) -> dict[str, Any]:
    night = _rgb(r)
    return dict(
        night=night, light=_apart(r, night, 0.35), sigma=round(r.uniform(1.2, 3.5), 1), keep=r.uniform(0.0, 0.5)
    )


def _draw_screen(r: Rng) -> dict[str, Any]:
    paper = _rgb(r)
    return dict(
        kind=str(r.choice(["dots", "lines", "squares"])),
        pitch=r.uniform(4.0, 8.0),
        angle=r.uniform(0, np.pi),
        ink=_apart(r, paper),
        paper=paper,
        own=float(r.choice([0.0, 0.0, 0.3, 0.7])),
    )


def _draw_cells(r: Rng) -> dict[str, Any]:
    pitch = r.uniform(4.5, 9.0)
    gap = float(r.choice([0.0, 0.08, 0.12])) * pitch  # half a joint's width: wider ones would hide the picture
    return dict(
        kind=str(r.choice(["tiles", "voronoi"])),
        pitch=pitch,
        stretch=r.uniform(0.8, 2.2),
        angle=r.uniform(0, np.pi),
        brick=float(r.choice([0.0, 0.5])),
        gap=gap,
        joint=_rgb(r),
        variation=r.uniform(0.0, 0.3),
        cut=bool(r.integers(2)),
        saturation=r.uniform(0.4, 2.0),
    )


def _draw_misregistration(r: Rng) -> dict[str, Any]:
    count = int(r.integers(2, 4))
    moves = r.integers(-3, 4, (count, 2))
    moves[0] = -moves[1] if moves[1].any() else (2, 2)
    return dict(moves=moves, inks=np.stack([0.1 + 0.8 * _rgb(r) for _ in range(count)]), paper=0.7 + 0.3 * _rgb(r))


_MAIN: list[tuple[Callable[..., Array], Callable[[Rng], dict[str, Any]], float]] = [
    (gradient_map, lambda r: dict(stops=_stops(r), level=r.uniform(0.5, 1.0), lift=r.uniform(-0.3, 0.3)), 3.0),
    (channel_mix, lambda r: dict(matrix=_matrix(r), bias=r.uniform(-0.15, 0.15, 3).astype(np.float32)), 2.0),
    (
        flat_levels,
        lambda r: dict(
            levels=int(r.integers(2, 5)),
            sigma=round(r.uniform(0.5, 2.0), 1),
            saturation=r.uniform(0.3, 2.2),
            tint=0.4 + 0.6 * _rgb(r),
        ),
        1.5,
    ),
    (line_art, _draw_line_art, 2.5),
    (glow, _draw_glow, 1.5),
    (screen, _draw_screen, 3.0),
    (cells, _draw_cells, 3.0),
    (misregistration, _draw_misregistration, 1.5),
    (
        relief,
        lambda r: dict(
            angle=r.uniform(0, 2 * np.pi),
            strength=r.uniform(0.8, 1.8),
            base=0.2 + 0.6 * _rgb(r),
            keep=float(r.choice([0.0, 0.3, 0.6])),
        ),
        1.0,
    ),
    (smear, lambda r: dict(size=int(r.integers(1, 4)), wobble=r.uniform(1.0, 2.2), period=r.uniform(5.0, 9.0)), 1.0),
]

_FINISH: list[tuple[Callable[..., Array], Callable[[Rng], dict[str, Any]], float]] = [
    (
        grain,
        lambda r: dict(
            period=round(r.uniform(3.0, 7.0)),
            amount=r.uniform(0.05, 0.14),
            tint=r.uniform(0.4, 1.0, 3).astype(np.float32),
        ),
        2.0,
    ),
    (wash, lambda r: dict(tint=_rgb(r), amount=r.uniform(0.2, 0.55), contrast=r.uniform(0.8, 1.6)), 1.5),
    (
        frame,
        lambda r: dict(
            tint=_rgb(r),
            width=r.uniform(2.0, 6.0),
            softness=r.uniform(0.5, 2.0),
            rough=float(r.choice([0.0, 0.0, 1.5])),
        ),
        1.0,
    ),
    (corners, lambda r: dict(tint=_rgb(r), amount=r.uniform(0.6, 1.0)), 1.0),
    (
        overlay,
        lambda r: dict(
            kind=str(r.choice(["dots", "lines", "squares"])),
            pitch=r.uniform(4.5, 9.0),
            angle=r.uniform(0, np.pi),
            tint=_rgb(r),
            amount=r.uniform(0.35, 0.7),
        ),
        2.0,
    ),
]

# Recolourings before or after a texture multiply the looks; two textures on top of each other only make mud.
_RECOLOUR = (gradient_map, channel_mix, flat_levels)


@dataclass(frozen=True)
class RandomStyle:
    """One identity of the family; callable like every style's fn, and picklable."""

    seed: int
    steps: tuple[tuple[Callable[..., Array], dict[str, Any]], ...]

    def __call__(self, image: Array, mask: Array, rng: Rng) -> Array:
        for op, parameters in self.steps:
            image = f.clip(op(image, mask, rng, **parameters))
        return image


@lru_cache(maxsize=4096)
def random_style(seed: int) -> RandomStyle:
    """The style of this seed: fn(image (64, 64, 3), mask (64, 64), rng) -> image (64, 64, 3)."""
    r = np.random.default_rng(seed)

    def pick(table: list) -> tuple[Callable[..., Array], dict[str, Any]]:
        weights = np.array([weight for _, _, weight in table])
        op, draw, _ = table[int(r.choice(len(table), p=weights / weights.sum()))]
        return op, draw(r)

    main = pick(_MAIN)
    steps = [main]
    weak = main[0] in (smear, flat_levels)
    if weak or (main[0] not in _RECOLOUR and r.random() < 0.35):
        recolour = pick(_MAIN[: 2 if weak else 3])
        # Posterising a finished texture swallows the object, so it always comes first.
        steps.insert(0 if recolour[0] is flat_levels else int(r.integers(2)), recolour)
    if r.random() < 0.6:
        steps.append(pick(_FINISH))
    return RandomStyle(seed, tuple(steps))
