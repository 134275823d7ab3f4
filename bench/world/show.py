"""A contact sheet of the world: classes, colours and patterns, scenes, styles, subjects, and styles never seen."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from bench.core.files import write_bytes
from bench.world.pen import COLOURS, PATTERNS
from bench.world.render import Scene, plain_thing, render
from bench.world.scenes import SCENES
from bench.world.styles import HELD_OUT, PRETRAIN
from bench.world.subjects import SUBJECTS
from bench.world.things import CLASSES

COLUMNS = 12


def sheet(images: list[np.ndarray], columns: int = COLUMNS, scale: int = 2) -> Image.Image:
    """Pictures uint8 (h, w, 3) in rows of `columns`, enlarged `scale` times without smoothing."""
    blank = np.full_like(images[0], 255)
    images = images + [blank] * (-len(images) % columns)
    rows = [np.concatenate(images[i : i + columns], 1) for i in range(0, len(images), columns)]
    grid = np.concatenate(rows, 0)
    return Image.fromarray(grid).resize((grid.shape[1] * scale, grid.shape[0] * scale), Image.Resampling.NEAREST)


def contact_sheet(seed: int = 0) -> Image.Image:
    """24 classes, 12 colours, 4 patterns in 8 things, 10 scenes, 8 styles, 24 subjects, 12 held-out styles."""
    rng = np.random.default_rng(seed)
    scenes, colours, styles = list(SCENES), list(COLOURS), list(PRETRAIN)
    pictures = [
        render(Scene((plain_thing(rng, c, colours[i % 12], "plain"),), scenes[i % 10]), rng)
        for i, c in enumerate(CLASSES)
    ]
    pictures += [
        render(Scene((plain_thing(rng, CLASSES[i], c, PATTERNS[1 + i % 3]),), scenes[(i * 3) % 10]), rng)
        for i, c in enumerate(colours)
    ]
    pictures += [
        render(Scene((plain_thing(rng), plain_thing(rng)), scenes[i % 10], styles[i % 8]), rng) for i in range(12)
    ]
    pictures += [render(Scene((s.thing,), scenes[i % 10]), rng) for i, s in enumerate(SUBJECTS)]
    pictures += [render(Scene((plain_thing(rng),), scenes[i % 10], h.fn), rng) for i, h in enumerate(HELD_OUT.values())]
    return sheet(pictures)


def write(out: Path, seed: int = 0) -> Path:
    """Save the contact sheet as PNG at `out`, whole or not at all. LitmusError where that cannot be written."""
    picture = io.BytesIO()
    contact_sheet(seed).save(picture, "PNG", optimize=True)
    write_bytes(out, picture.getvalue())
    return out
