"""Writes the world's tasks as folders: 24 subjects and 12 styles, with training, held-out and truth pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.world.captions import caption, noun
from bench.world.pen import COLOURS
from bench.world.render import Scene, StyleFn, Thing, plain_thing, render
from bench.world.scenes import SCENES, SIZE
from bench.world.styles import HELD_OUT
from bench.world.subjects import SUBJECTS, Subject
from bench.world.things import CLASSES

IDENTIFIER = "sks"
TRUTHS = 2  # pictures of the right answer for each prompt
STYLE_CONTENTS = 16  # prompts of a style task
PROMPT_STYLES = ("sketch", "neon", "sepia", "comic")


def _generator(*keys: object) -> np.random.Generator:
    """One stream per task and purpose, so that adding a task moves no other."""
    digest = hashlib.sha256("/".join(map(str, keys)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


class _Folder:
    """A task folder in the making: pictures go to disk, their lines to task.toml."""

    def __init__(self, path: Path, head: dict[str, object]):
        self.path, self.lines = path, [f"{k} = {json.dumps(v)}" for k, v in head.items()]

    def picture(self, file: str, image: np.ndarray) -> str:
        target = self.path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target, optimize=True)
        return file

    def row(self, table: str, **values: object) -> None:
        self.lines.append(f"\n[[{table}]]")
        for key, value in values.items():
            if isinstance(value, dict):
                text = "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + " }" if value else "{}"
            else:
                text = json.dumps(value)
            self.lines.append(f"{key} = {text}")

    def close(self) -> None:
        (self.path / "task.toml").write_text("\n".join(self.lines) + "\n", encoding="utf-8")


def _asks(thing: Thing | None, scene: str | None, style: str | None, colour: str | None = None) -> dict[str, str]:
    pairs = {"class": thing.cls if thing else None, "colour": colour, "scene": scene, "style": style}
    return {k: v for k, v in pairs.items() if v}


def _plain_prompts(folder: _Folder, cls: str | None, rng: np.random.Generator) -> None:
    """Prompts without the concept: `prior` for its class (or any class), `drift` for unrelated things."""
    scenes = list(SCENES)
    others = [c for c in CLASSES if c != cls]
    for table in ("prior", "drift"):
        for i in range(8):
            colour = list(COLOURS)[rng.integers(len(COLOURS))] if table == "drift" else None
            name = cls if table == "prior" and cls else others[rng.integers(len(others))]
            scene = scenes[(int(rng.integers(2)) + i * 3) % 10]
            text = caption([noun(name, colour)], scene)
            folder.row(table, text=text, asks=_asks(Thing(name, plain_thing(rng, name).look), scene, "photo", colour))


def write_subject(subject: Subject, out: Path, seed: int) -> None:
    """5 training and 4 held-out pictures, 21 prompts (10 scenes, 5 companions, 4 styles, 2 colours), 2 truths each."""
    thing, name = subject.thing, subject.name
    rng = _generator("pocket", seed, name)
    head = {
        "format": 1,
        "name": name,
        "kind": "subject",
        "split": subject.split,
        "class_word": thing.cls,
        "identifier": IDENTIFIER,
        "resolution": SIZE,
    }
    folder = _Folder(out / name, head)
    scenes = [list(SCENES)[i] for i in rng.permutation(len(SCENES))]
    for table, chosen in (("train", scenes[:5]), ("heldout", scenes[5:9])):
        for i, scene in enumerate(chosen):
            file = folder.picture(f"{table}/{i}.png", render(Scene((thing,), scene), rng))
            text = caption([noun(thing.cls, identifier=IDENTIFIER)], scene)
            folder.row(table, file=file, caption=text, plain=caption([noun(thing.cls)], scene))

    def prompt(scene: str, style: str = "photo", other: Thing | None = None, colour: str | None = None) -> None:
        shown = thing
        if colour:  # the asked colour replaces the body's; second part, emblem, accessory and shape stay
            shown = Thing(thing.cls, replace(thing.look, colour=COLOURS[colour]))
        things = (shown, other) if other else (shown,)
        tail = [noun(other.cls, other.colour_word)] if other else []
        text = caption([noun(thing.cls, colour, identifier=IDENTIFIER), *tail], scene, style)
        number = sum(line == "\n[[prompts]]" for line in folder.lines)
        truth = [
            folder.picture(f"truth/{number:02d}-{k}.png", render(Scene(things, scene, style), rng))
            for k in range(TRUTHS)
        ]
        plain = caption([noun(thing.cls, colour), *tail], scene, style)
        asks = _asks(None if other else thing, scene, style, colour)
        folder.row("prompts", text=text, plain=plain, truth=truth, asks=asks)

    for scene in SCENES:
        prompt(scene)
    for i in range(5):
        others = [c for c in CLASSES if c != thing.cls]
        prompt(scenes[i], other=plain_thing(rng, others[rng.integers(len(others))], pattern="plain"))
    for i, style in enumerate(PROMPT_STYLES):
        prompt(scenes[5 + i], style)
    for colour in rng.choice(["red", "yellow", "blue", "pink", "green"], 2, replace=False):
        prompt(scenes[9], colour=str(colour))
    _plain_prompts(folder, thing.cls, rng)
    folder.close()


def write_style(name: str, fn: StyleFn, split: str, out: Path, seed: int) -> None:
    """6 training and 4 held-out pictures of different contents, 16 prompts for other contents, 2 truths each."""
    rng = _generator("pocket", seed, "style", name)
    head = {
        "format": 1,
        "name": f"style-{name}",
        "kind": "style",
        "split": split,
        "class_word": "",
        "identifier": IDENTIFIER,
        "resolution": SIZE,
    }
    folder = _Folder(out / f"style-{name}", head)
    classes = [CLASSES[i] for i in rng.permutation(len(CLASSES))]
    scenes = list(SCENES)

    def content(i: int) -> tuple[Thing, str]:
        return plain_thing(rng, classes[i % len(classes)]), scenes[(i * 7 + 3) % 10]

    for table, numbers in (("train", range(6)), ("heldout", range(6, 10))):
        for k, i in enumerate(numbers):
            thing, scene = content(i)
            file = folder.picture(f"{table}/{k}.png", render(Scene((thing,), scene, fn), rng))
            plain = caption([noun(thing.cls)], scene)
            folder.row(table, file=file, caption=f"{plain} in {IDENTIFIER} style", plain=plain)
    for number in range(STYLE_CONTENTS):
        thing, scene = content(8 + number)
        plain = caption([noun(thing.cls)], scene)
        truth = []
        for k in range(TRUTHS):
            shown = plain_thing(rng, thing.cls)
            truth.append(folder.picture(f"truth/{number:02d}-{k}.png", render(Scene((shown,), scene, fn), rng)))
        folder.row(
            "prompts", text=f"{plain} in {IDENTIFIER} style", plain=plain, truth=truth, asks=_asks(thing, scene, None)
        )
    _plain_prompts(folder, None, rng)
    folder.close()


CARD = """# Tasks of the pocket world

Written by `litmus world tasks` (seed {seed}) from `bench/world`: {subjects} subjects and {styles} styles, 64×64 px PNG.
Each folder is a task: `task.toml` (captions, prompts, what each asks for), `train/`, `heldout/`, `truth/`.

- **Subjects** carry an emblem, a two-part paint, an odd proportion and an accessory, none of which a caption says.
  5 training pictures, 4 held out, 21 prompts (10 scenes, 5 companions, 4 styles, 2 colours) with {truths} true
  pictures each.
- **Styles** are image operations that the base never saw. 6 training pictures, 4 held out, {prompts} prompts,
{truths} truths each.
- **Splits**: `tuning` tasks are for choosing hyperparameters, `test` tasks for boards; nothing is chosen on a test
task.
- Made by this project's own code; licence Apache-2.0, as the code. No photographs, no people, no scraped data.
- `SHA256SUMS` holds the checksum of every file: `cd datasets/pocket && sha256sum -c SHA256SUMS`.

| task | split | class |
| --- | --- | --- |
{rows}
"""


def write(out: Path, seed: int = 0) -> Sequence[str]:
    """Write every task below `out` with README.md and SHA256SUMS; returns their names. Same seed, same bytes drawn."""
    for subject in SUBJECTS:
        write_subject(subject, out, seed)
    for held in HELD_OUT.values():
        write_style(held.name, held.fn, held.split, out, seed)
    rows = [f"| {s.name} | {s.split} | {s.thing.cls} |" for s in SUBJECTS]
    rows += [f"| style-{h.name} | {h.split} | |" for h in HELD_OUT.values()]
    text = CARD.format(
        seed=seed,
        subjects=len(SUBJECTS),
        styles=len(HELD_OUT),
        truths=TRUTHS,
        prompts=STYLE_CONTENTS,
        rows="\n".join(rows),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(out).as_posix()}" for p in files]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
    return [s.name for s in SUBJECTS] + [f"style-{h}" for h in HELD_OUT]
