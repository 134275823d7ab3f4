"""Captioned samples of the world, drawn in parallel: what base, autoencoder and evaluators are trained on."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.world.captions import caption, noun
from bench.world.pen import COLOURS, PATTERNS
from bench.world.random_styles import random_style
from bench.world.render import Scene, plain_thing, render
from bench.world.scenes import SCENES, SIZE
from bench.world.styles import PRETRAIN
from bench.world.subjects import random_thing
from bench.world.things import CLASSES

LABELS: dict[str, tuple[str, ...]] = {
    "class": CLASSES,
    "colour": tuple(COLOURS),
    "pattern": PATTERNS,
    "scene": tuple(SCENES),
    "style": tuple(PRETRAIN),
}
HEADS = tuple(LABELS)
UNKNOWN = -1  # a label that the picture cannot show (colour in a sketch, class in a composition)


@dataclass(frozen=True)
class Sample:
    """image uint8 (64, 64, 3), caption as the base reads it, labels (5,) indices into LABELS or UNKNOWN."""

    image: np.ndarray
    caption: str
    labels: np.ndarray


def choose_style(rng: np.random.Generator, photo: float = 0.6) -> str:
    names = list(PRETRAIN)
    return names[0] if rng.random() < photo else names[rng.integers(1, len(names))]


def base_sample(rng: np.random.Generator, full: bool = False, pairs: float = 0.1) -> Sample:
    """One picture of the base's world; captions drop words at random unless `full`, and say only what can be seen."""
    style = choose_style(rng)
    scene = list(SCENES)[rng.integers(len(SCENES))]
    two = rng.random() < pairs
    things = tuple(plain_thing(rng) for _ in range(2 if two else 1))
    colours = PRETRAIN[style].keeps_colour
    say = rng.random(4) < (1.0 if full else 0.9)
    nouns = [
        noun(
            t.cls, t.colour_word if colours and say[0] else None, t.pattern if say[1] and style != "pixel" else "plain"
        )
        for t in things
    ]
    t = things[0]
    labels = np.array(
        [
            UNKNOWN if two else CLASSES.index(t.cls),
            list(COLOURS).index(t.colour_word or "red") if colours and not two else UNKNOWN,
            PATTERNS.index(t.pattern) if not two and style != "pixel" else UNKNOWN,
            list(SCENES).index(scene),
            list(PRETRAIN).index(style),
        ],
        np.int64,
    )
    image = render(Scene(things, scene, style), rng)
    return Sample(image, caption(nouns, scene if say[2] else None, style), labels)


def any_sample(rng: np.random.Generator) -> Sample:
    """Anything: base pictures, random identities, random styles. For the autoencoder, which must carry them all."""
    if rng.random() < 0.4:
        return base_sample(rng)
    style = random_style(int(rng.integers(1_000_000))) if rng.random() < 0.4 else choose_style(rng, 0.7)
    scene = list(SCENES)[rng.integers(len(SCENES))]
    things = (random_thing(rng),) if rng.random() < 0.85 else (random_thing(rng), plain_thing(rng))
    return Sample(render(Scene(things, scene, style), rng), "", np.full(len(HEADS), UNKNOWN))


def _chunk(job: tuple[Callable[[np.random.Generator], Sample], int, int]) -> tuple[np.ndarray, list[str], np.ndarray]:
    draw, seed, n = job
    rng = np.random.default_rng(seed)
    samples = [draw(rng) for _ in range(n)]
    return np.stack([s.image for s in samples]), [s.caption for s in samples], np.stack([s.labels for s in samples])


def draw_many(
    draw: Callable[[np.random.Generator], Sample], n: int, seed: int, workers: int | None = None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """`n` samples: images uint8 (n, 64, 64, 3), captions, labels (n, 5); the same for any number of workers."""
    size = 500
    jobs = [(draw, seed * 100_003 + i, min(size, n - i * size)) for i in range(-(-n // size))]
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers == 1:
        parts = [_chunk(j) for j in jobs]
    else:
        # spawn: the parent may hold torch's threads, which do not survive a fork
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            parts = pool.map(_chunk, jobs, chunksize=1)
    return (
        np.concatenate([p[0] for p in parts]),
        [c for p in parts for c in p[1]],
        np.concatenate([p[2] for p in parts]),
    )


__all__ = ["HEADS", "LABELS", "SIZE", "UNKNOWN", "Sample", "any_sample", "base_sample", "draw_many"]
