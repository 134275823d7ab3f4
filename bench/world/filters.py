"""Small image operations from which the styles are made.

Shapes: an image is float32 (H, W, 3) in [0, 1], a field is float32 (H, W); H = W = 64 in this world, though nothing
here depends on it. Blurs and noise are products with small cached matrices, several times faster than ndimage at 64x64.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def colour(*rgb: float) -> Array:
    """A colour given as 0..255 -> float32 (3,)."""
    return np.asarray(rgb, np.float32) / 255.0


def clip(x: Array) -> Array:
    """Any float array -> float32 in [0, 1]."""
    return np.clip(x, 0.0, 1.0).astype(np.float32, copy=False)


def luminance(image: Array) -> Array:
    """(H, W, 3) -> (H, W)."""
    return image @ LUMA


def normalise(field: Array, strength: float = 1.0) -> Array:
    """(H, W) -> (H, W) around 0.5 with a fixed spread, so that dull and contrasty scenes use a palette alike."""
    spread = 0.5 + 0.24 * (field - field.mean()) / max(float(field.std()), 0.06)
    return clip(field + strength * (spread - field))


def smoothstep(field: Array, low: float, high: float) -> Array:
    """Ramp from 0 at low to 1 at high, linear, so that drawn edges are antialiased."""
    return np.clip((field - low) * (1.0 / (high - low)), 0.0, 1.0)


def mix(a: Array, b: Array, amount: Array | float) -> Array:
    """a where amount is 0, b where it is 1; amount (H, W) or a number; a and b (H, W, 3) or (3,)."""
    if isinstance(amount, np.ndarray):
        amount = amount[..., None]
    return a + (b - a) * amount


@lru_cache(maxsize=256)
def _blur_matrix(size: int, sigma: float) -> Array:
    position = np.arange(size)
    matrix = np.exp(-0.5 * ((position[:, None] - position) / sigma) ** 2)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def blur(x: Array, sigma: float) -> Array:
    """Gaussian blur of (H, W) or (H, W, 3)."""
    height, width = x.shape[:2]
    rows, cols = _blur_matrix(height, sigma), _blur_matrix(width, sigma)
    if x.ndim == 2:
        return rows @ x @ cols.T
    return np.matmul(cols, (rows @ x.reshape(height, -1)).reshape(x.shape))


@lru_cache(maxsize=64)
def _noise_matrix(size: int, period: float) -> Array:
    knots = np.arange(-1, int(size / period) + 3) * period
    matrix = np.exp(-0.5 * ((np.arange(size)[:, None] - knots) / (0.5 * period)) ** 2)
    return (matrix / np.sqrt((matrix**2).sum(1, keepdims=True))).astype(np.float32)


def noise(shape: tuple[int, int], period: float, rng: np.random.Generator) -> Array:
    """Smooth noise (H, W) of zero mean and unit variance whose grains are about `period` pixels apart."""
    rows, cols = _noise_matrix(shape[0], period), _noise_matrix(shape[1], period)
    return rows @ rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32) @ cols.T


@lru_cache(maxsize=8)
def grid(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Pixel coordinates y, x, each (H, W) float32."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y, x


def rotated(shape: tuple[int, int], angle: float) -> tuple[Array, Array]:
    """Coordinates along and across a direction, each (H, W)."""
    y, x = grid(shape)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def gradient(field: Array) -> Array:
    """Largest absolute central difference, (H, W[, C]) -> same; a step gives a band two pixels wide."""
    out = np.zeros_like(field)
    out[1:-1] = np.abs(field[2:] - field[:-2])
    out[:, 1:-1] = np.maximum(out[:, 1:-1], np.abs(field[:, 2:] - field[:, :-2]))
    return out


def thicken(field: Array) -> Array:
    """Grow bright marks by one pixel in each direction, (H, W) -> (H, W)."""
    out = field.copy()
    np.maximum(out[1:], field[:-1], out=out[1:])
    np.maximum(out[:-1], field[1:], out=out[:-1])
    wide = out.copy()
    np.maximum(wide[:, 1:], out[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], out[:, 1:], out=wide[:, :-1])
    return wide


def edges(image: Array, mask: Array, low: float = 0.10, high: float = 0.40, outline: float = 0.9) -> Array:
    """Line strength (H, W) in [0, 1]: colour edges, and the object's outline even where colours happen to agree."""
    found = smoothstep(gradient(image).max(2), low, high)
    return np.maximum(found, outline * smoothstep(gradient(mask), 0.2, 0.7))


def colour_map(field: Array, stops: Array) -> Array:
    """Palette lookup: field (H, W) in [0, 1], stops (K, 3) evenly spaced -> (H, W, 3)."""
    position = clip(field) * (len(stops) - 1)
    index = np.minimum(position.astype(np.int32), len(stops) - 2)
    return mix(stops[index], stops[index + 1], position - index)


def posterise(image: Array, levels: int) -> Array:
    """Round every channel to `levels` values."""
    return np.round(image * (levels - 1)) * np.float32(1.0 / (levels - 1))


def saturate(image: Array, amount: float) -> Array:
    """Scale the distance from grey: 0 is grey, 1 is unchanged. Unclipped."""
    grey = luminance(image)[..., None]
    return grey + (image - grey) * amount


def shift(x: Array, dy: int, dx: int) -> Array:
    """Translate, repeating the border, so that no seam appears; (H, W[, C])."""
    height, width = x.shape[:2]
    rows = np.clip(np.arange(height) - dy, 0, height - 1)
    cols = np.clip(np.arange(width) - dx, 0, width - 1)
    return x[rows[:, None], cols]


def warp(image: Array, dy: Array, dx: Array) -> Array:
    """Displace by fields (H, W) in pixels, nearest neighbour (blur afterwards if it should be soft)."""
    y, x = grid(image.shape[:2])
    rows = np.clip(y + dy + 0.5, 0, image.shape[0] - 1).astype(np.int32)
    cols = np.clip(x + dx + 0.5, 0, image.shape[1] - 1).astype(np.int32)
    return image[rows, cols]


def line_wave(shape: tuple[int, int], pitch: float, angle: float, phase: float | Array) -> Array:
    """Triangle wave (H, W) in [0, 1] of straight parallel lines."""
    across = rotated(shape, angle)[1] / pitch + phase
    return np.abs(2.0 * (across - np.floor(across)) - 1.0)


def dot_wave(shape: tuple[int, int], pitch: float, angle: float, phase: tuple[float, float]) -> Array:
    """Egg-crate screen (H, W) in [0, 1], 1 at the dots' centres."""
    along, across = rotated(shape, angle)
    k = 2.0 * np.pi / pitch
    return 0.5 + 0.25 * (np.cos(along * k + 6.2832 * phase[0]) + np.cos(across * k + 6.2832 * phase[1]))


def grid_lines(shape: tuple[int, int], pitch: float, width: float, angle: float, phase: tuple[float, float]) -> Array:
    """Ruled squares: line coverage (H, W) in [0, 1]."""
    marks = []
    for coordinate, offset in zip(rotated(shape, angle), phase, strict=True):
        t = coordinate / pitch + offset
        marks.append(np.abs(t - np.round(t)) * pitch)
    return 1.0 - smoothstep(np.minimum(*marks), 0.5 * width - 0.5, 0.5 * width + 0.5)


def tiles(
    shape: tuple[int, int], pitch: tuple[float, float], angle: float, phase: tuple[float, float], brick: float = 0.0
) -> tuple[Array, Array]:
    """Rectangular cells, alternate rows moved by `brick` cells: labels (H, W) int, distance to the border (H, W)."""
    along, across = rotated(shape, angle)
    v = across / pitch[1] + phase[1]
    row = np.floor(v)
    u = along / pitch[0] + phase[0] + brick * np.mod(row, 2)
    col = np.floor(u)
    fu, fv = u - col, v - row
    border = np.minimum(np.minimum(fu, 1 - fu) * pitch[0], np.minimum(fv, 1 - fv) * pitch[1])
    row, col = (row - row.min()).astype(np.int32), (col - col.min()).astype(np.int32)
    return row * (int(col.max()) + 1) + col, border


def voronoi(shape: tuple[int, int], pitch: float, rng: np.random.Generator, jitter: float = 0.8) -> tuple[Array, Array]:
    """Irregular cells around jittered grid points: labels (H, W) int, distance to the border (H, W)."""
    y, x = grid(shape)
    rows, cols = int(shape[0] / pitch) + 4, int(shape[1] / pitch) + 4
    cell_y, cell_x = (y / pitch).astype(np.int32) + 1, (x / pitch).astype(np.int32) + 1
    offset = (0.5 + jitter * (rng.random((2, rows * cols), dtype=np.float32) - 0.5) - 1.0) * np.float32(pitch)
    site_y = (np.arange(rows, dtype=np.float32) * pitch).repeat(cols) + offset[0]
    site_x = np.tile(np.arange(cols, dtype=np.float32) * pitch, rows) + offset[1]
    nearest = cell_y * cols + cell_x
    labels = nearest
    first = second = np.full(shape, np.inf, np.float32)
    for step in [dy * cols + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
        candidate = nearest + step
        distance = np.square(site_y[candidate] - y) + np.square(site_x[candidate] - x)
        labels = np.where(distance < first, candidate, labels)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return labels, 0.5 * (np.sqrt(second) - np.sqrt(first))


def cell_average(image: Array, labels: Array) -> Array:
    """Fill every cell with its mean colour: (H, W, 3), labels (H, W) int -> (H, W, 3)."""
    flat = labels.ravel()
    count = np.maximum(np.bincount(flat), 1)
    means = [np.bincount(flat, image[..., c].ravel()) / count for c in range(3)]
    return np.stack(means, 1).astype(np.float32)[labels]


def cell_values(labels: Array, rng: np.random.Generator) -> Array:
    """One uniform number in [-1, 1] per cell, spread over its pixels (H, W)."""
    return (2.0 * rng.random(int(labels.max()) + 1, dtype=np.float32) - 1.0)[labels]


def border_distance(shape: tuple[int, int]) -> Array:
    """Pixels to the nearest image border (H, W)."""
    y, x = grid(shape)
    return np.minimum(np.minimum(x, shape[1] - 1 - x), np.minimum(y, shape[0] - 1 - y))


def vignette(shape: tuple[int, int]) -> Array:
    """0 at the centre, 1 in the corners (H, W)."""
    y, x = grid(shape)
    return ((2 * y / (shape[0] - 1) - 1) ** 2 + (2 * x / (shape[1] - 1) - 1) ** 2) * 0.5
