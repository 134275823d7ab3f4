"""What a task is: pictures to learn a concept from, and prompts to be judged on. Importing this loads no torch."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

KINDS = ("subject", "style")
SPLITS = ("tuning", "test", "user")
SMALLEST = 8  # px a side: below this a picture is a mistake, not a picture


@dataclass(frozen=True)
class Picture:
    """One picture of the concept. `caption` names it with the identifier, `plain` is the same without."""

    file: Path
    caption: str
    plain: str


@dataclass(frozen=True)
class Prompt:
    """One thing to ask for.

    text   what the model is given
    plain  the same without the identifier: what a scorer that never met the concept is given
    truth  pictures of exactly that, if the world can draw them
    asks   attribute -> value that the picture should show, for the world's classifiers; may be empty
    """

    text: str
    plain: str
    truth: tuple[Path, ...] = ()
    asks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A concept to learn and how learning it is judged.

    train    pictures that are trained on; heldout: pictures of the same concept that are not
    prompts  with the concept; prior: plain class prompts; drift: prompts that have nothing to do with it
    licence  of the pictures, where task.toml says it; no part of the digest
    Pictures are read when they are asked for, resized and centre-cropped to `resolution`: pixels a side, or (height,
    width).
    """

    name: str
    kind: str
    split: str
    class_word: str
    identifier: str
    resolution: int | tuple[int, int]
    train: tuple[Picture, ...]
    heldout: tuple[Picture, ...]
    prompts: tuple[Prompt, ...]
    prior: tuple[Prompt, ...]
    drift: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    licence: str = ""

    @property
    def has_truth(self) -> bool:
        """Every prompt has truth pictures, so the task has a ceiling."""
        return bool(self.prompts) and all(p.truth for p in self.prompts)

    def at(self, resolution: int | tuple[int, int]) -> Task:
        """The same task with pictures of `resolution`."""
        return self if resolution == self.resolution else replace(self, resolution=resolution)

    def texts(self) -> list[str]:
        """Every caption and prompt, for a check of the vocabulary."""
        pictures = [c for p in (*self.train, *self.heldout) for c in (p.caption, p.plain)]
        return pictures + [t for p in (*self.prompts, *self.prior, *self.drift) for t in (p.text, p.plain)]

    @cached_property
    def train_images(self) -> Tensor:
        """(N, 3, H, W) in [0, 1]."""
        return read_images([p.file for p in self.train], self.resolution)

    @cached_property
    def heldout_images(self) -> Tensor:
        """(M, 3, H, W) in [0, 1]; M may be 0."""
        return read_images([p.file for p in self.heldout], self.resolution)

    @cached_property
    def truth_images(self) -> list[Tensor]:
        """Per prompt (K, 3, H, W) in [0, 1]."""
        return [read_images(p.truth, self.resolution) for p in self.prompts]

    @cached_property
    def digest(self) -> str:
        """sha256[:16] over every word and every picture file; where the folder lies does not matter."""

        def of(file: Path) -> str:
            return hashlib.sha256(read_bytes(file)).hexdigest()

        def prompt(p: Prompt) -> list[Any]:
            return [p.text, p.plain, [of(f) for f in p.truth], dict(sorted(p.asks.items()))]

        table = [self.kind, self.class_word, self.identifier]
        table += [[[of(p.file), p.caption, p.plain] for p in part] for part in (self.train, self.heldout)]
        table += [[prompt(p) for p in part] for part in (self.prompts, self.prior, self.drift)]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]

    def files(self) -> list[Path]:
        """Every picture file."""
        return [p.file for p in (*self.train, *self.heldout)] + [f for p in self.prompts for f in p.truth]

    def check(self) -> Task:
        """Itself, after every picture was opened. LitmusError names the first that is missing, broken or too small."""
        for file in self.files():
            open_picture(file)
        return self


def read_bytes(file: Path) -> bytes:
    """The bytes of a picture file; LitmusError when it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise LitmusError(f"picture {file} is missing: put it back, or take it out of the task") from None
    except OSError as error:
        raise LitmusError(f"cannot read the picture {file}: {error.strerror}") from None


def open_picture(file: Path) -> Image.Image:
    """The decoded picture, upright and RGB, transparency laid on white; LitmusError for one that can't be used."""
    from PIL import Image, ImageOps

    try:
        picture = Image.open(io.BytesIO(read_bytes(file)))
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("RGB")
    except LitmusError:
        raise
    except Exception as error:  # Pillow raises a dozen types for a broken file
        reason = str(error).split("<")[0].strip() or type(error).__name__
        raise LitmusError(f"picture {file} is broken ({reason}): replace or remove it") from None
    if min(picture.size) < SMALLEST:
        size = "×".join(map(str, picture.size))
        raise LitmusError(f"picture {file} is only {size} px: use one of at least {SMALLEST} px a side")
    return picture


def read_images(files: Iterable[Path], resolution: int | tuple[int, int]) -> Tensor:
    """(N, 3, H, W) float32 in [0, 1] of `resolution` pixels a side, or (H, W): as large as fits, then the centre."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    out = []
    height, width = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    for file in files:
        picture = open_picture(file)
        if picture.size != (width, height):  # exact pictures pass untouched
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        out.append(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(out) if out else torch.zeros(0, 3, height, width)


def without(text: str, identifier: str) -> str:
    """`text` without the identifier word: "a sks robot" -> "a robot", "a car in sks style" -> "a car in style"."""
    return " ".join(word for word in text.split() if word.strip(".,") != identifier)


def pictures(rows: Sequence[tuple[Path, str]], identifier: str) -> tuple[Picture, ...]:
    """Pictures from (file, caption) rows; a caption's plain form is itself without the identifier."""
    return tuple(Picture(file, caption, without(caption, identifier)) for file, caption in rows)
