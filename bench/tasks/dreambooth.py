"""The 30 subjects of DreamBooth from a local copy of google/dreambooth.

Ruiz et al., "DreamBooth", CVPR 2023, arXiv:2208.12242. The copy lies in datasets/dreambooth or where
$LITMUS_DREAMBOOTH says: a folder per subject, or the clone itself with its dataset/ folder, with
prompts_and_classes.txt, and optionally manifest.json (file -> sha256, bytes, size of the originals).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bench.core.errors import LitmusError, nearest
from bench.core.paths import datasets
from bench.tasks import folder
from bench.tasks import prompts as words
from bench.tasks.base import TaskSource, register
from bench.tasks.task import Task

IDENTIFIER = "sks"
REDUCED = "reduced copy: the pictures are not the originals"
# Litmus's choice, not the paper's: rates are chosen on these. Each has a sibling of its kind among the other 26.
TUNING = ("backpack_dog", "cat2", "dog3", "shiny_sneaker")


@register
@dataclass(frozen=True)
class DreamBooth(TaskSource):
    """The 30 subjects of DreamBooth: four for tuning (TUNING), the others for tests."""

    name = "dreambooth"
    prefix = "dreambooth/"
    form = "dreambooth/dog6"
    about = "a subject of DreamBooth, in datasets/dreambooth: litmus fetch dreambooth brings them"
    licence = "CC-BY-4.0"

    def names(self) -> list[str]:
        return [f"{self.prefix}{name}" for name in subjects()]

    def load(self, name: str) -> Task:
        return load(name.removeprefix(self.prefix))

    def peek(self, name: str) -> Task:
        return load(name.removeprefix(self.prefix), checked=False)

    def away(self, name: str) -> str:
        return "" if home().is_dir() else "DreamBooth's pictures, first and by hand: litmus fetch dreambooth"

    def split_of(self, name: str) -> str:
        return split_of(name.removeprefix(self.prefix))


def split_of(name: str) -> str:
    """The split of the subject `name`."""
    return "tuning" if name in TUNING else "test"


def home() -> Path:
    """Where the copy lies, whether or not it is there."""
    if path := os.environ.get("LITMUS_DREAMBOOTH"):
        return Path(path).expanduser()
    return datasets() / "dreambooth"


def _pictures(root: Path, name: str) -> Path:
    inner = root / "dataset" / name  # the layout of the original repository
    return inner if inner.is_dir() else root / name


def classes(root: Path) -> dict[str, str]:
    """Subject -> class word, from prompts_and_classes.txt. LitmusError when that file is missing or odd."""
    for file in (root / "prompts_and_classes.txt", root / "dataset" / "prompts_and_classes.txt"):
        if file.is_file():
            break
    else:
        raise LitmusError(f"no DreamBooth copy in {root}: litmus fetch dreambooth brings it, or set LITMUS_DREAMBOOTH")
    head = file.read_text(encoding="utf-8").partition("Prompts")[0]
    found = dict(re.findall(r"^([a-z0-9_]+),([a-z ]+?)\s*$", head, flags=re.M))
    found.pop("subject_name", None)
    if not found:
        raise LitmusError(f"{file} lists no subjects: restore the original")
    return found


def subjects() -> list[str]:
    """Names of the subjects that are there; empty where there is no copy."""
    try:
        return sorted(name for name in classes(home()) if _pictures(home(), name).is_dir())
    except LitmusError:
        return []


def load(name: str, checked: bool = True) -> Task:
    """The subject `name` as a task: its pictures (every third held out), its class word, the paper's 25 prompts.

    Verified, unless not `checked`, against manifest.json where there is one: names and count always, sha256 where the
    byte count is the original's. Raises LitmusError for an unknown subject, a missing, additional or altered picture.
    """
    root = home()
    known = classes(root)
    if name not in known:
        raise LitmusError(nearest(name, known, "DreamBooth subject"))
    place = _pictures(root, name)
    note = verify(root, name) if checked else ""
    class_word = known[name]
    live = class_word in words.LIVE
    task = folder.photos(place, identifier=IDENTIFIER, class_word=class_word, live=live)
    notes = (*task.notes, *([note] if note else []))
    return replace(task, name=f"dreambooth/{name}", split=split_of(name), notes=notes)


def verify(root: Path, name: str) -> str:
    """ "" when the subject's pictures are the originals or nothing is known of them, else REDUCED."""
    expected = {
        path.removeprefix("dataset/"): facts
        for path, facts in _manifest(root).items()
        if path.removeprefix("dataset/").startswith(f"{name}/")
    }
    if not expected:
        return ""
    place = _pictures(root, name)
    there = {f"{name}/{p.name}" for p in place.glob("*") if p.suffix.lower() in folder.ENDINGS}
    if odd := sorted(expected.keys() ^ there):
        word = "is missing" if odd[0] in expected else "is not DreamBooth's"
        raise LitmusError(f"{place.parent / odd[0]} {word} (manifest.json lists {len(expected)}): restore the copy")
    reduced = False
    for path, facts in expected.items():
        data = (place.parent / path).read_bytes()
        if len(data) != facts["bytes"]:
            reduced = True
        elif hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise LitmusError(f"{place.parent / path} was altered (sha256 differs): restore the copy")
    return REDUCED if reduced else ""


@lru_cache(maxsize=4)
def _manifest_text(file: Path, changed: float) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))["files"]


def _manifest(root: Path) -> dict:
    file = root / "manifest.json"
    if not file.is_file():
        return {}
    try:
        return _manifest_text(file, file.stat().st_mtime)
    except (ValueError, KeyError):
        raise LitmusError(f"{file} is not a manifest: restore or delete it") from None
