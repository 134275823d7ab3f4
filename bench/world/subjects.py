"""Subjects: single things with traits that no caption can say. 24 fixed ones make tasks, endless others train
evaluators."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from bench.world.pen import ACCESSORIES, EMBLEMS, RGB, Look
from bench.world.render import Thing, plain_thing
from bench.world.things import CLASSES


@dataclass(frozen=True)
class Subject:
    """A thing that the base never sees; `split` says whether tuning or test tasks may use it."""

    name: str
    thing: Thing
    split: str


def _vivid(rng: np.random.Generator, hue: float | None = None) -> RGB:
    h = rng.random() if hue is None else hue % 1.0
    r, g, b = colorsys.hsv_to_rgb(h, rng.uniform(0.55, 0.95), rng.uniform(0.45, 0.98))
    return int(255 * r), int(255 * g), int(255 * b)


def random_look(rng: np.random.Generator, everything: bool = False) -> Look:
    """A random identity: any colours, any of the four traits (`everything` = all of them, as the 24 subjects have)."""
    hue = rng.random()
    keep = rng.random(4) < (1.0 if everything else 0.6)
    wide = rng.random() < 0.5
    stretch = (
        (rng.uniform(1.05, 1.2), rng.uniform(0.68, 0.82)) if wide else (rng.uniform(0.66, 0.8), rng.uniform(1.0, 1.1))
    )
    return Look(
        colour=_vivid(rng, hue),
        pattern="plain" if rng.random() < 0.7 else ("striped", "dotted", "checkered")[rng.integers(3)],
        second=_vivid(rng, hue + rng.uniform(0.25, 0.75)) if keep[0] else None,
        emblem=EMBLEMS[rng.integers(len(EMBLEMS))] if keep[1] else None,
        emblem_colour=_vivid(rng) if rng.random() < 0.7 else (250, 250, 250),
        accessory=ACCESSORIES[rng.integers(len(ACCESSORIES))] if keep[2] else None,
        accessory_colour=_vivid(rng),
        stretch=stretch if keep[3] else (1.0, 1.0),
    )


def _fixed() -> tuple[Subject, ...]:
    rng = np.random.default_rng(2303)
    out = []
    for i, cls in enumerate(CLASSES):
        look = random_look(rng, everything=True)
        look = Look(
            **{**look.__dict__, "emblem": EMBLEMS[(i * 5 + i // 6) % 6], "accessory": ACCESSORIES[(i + i // 6) % 6]}
        )
        out.append(Subject(f"subject-{cls}", Thing(cls, look), "tuning" if i % 3 == 1 else "test"))
    return tuple(out)


SUBJECTS = _fixed()
_TAKEN = {(s.thing.cls, s.thing.look.emblem, s.thing.look.accessory) for s in SUBJECTS}


def random_thing(rng: np.random.Generator, cls: str | None = None) -> Thing:
    """A training identity for evaluators and autoencoder; never one of the 24 subjects' class-emblem-accessory
    triples."""
    cls = cls or CLASSES[rng.integers(len(CLASSES))]
    if rng.random() < 0.15:
        return plain_thing(rng, cls)
    while True:
        look = random_look(rng)
        if (cls, look.emblem, look.accessory) not in _TAKEN:
            return Thing(cls, look)
