"""A data set of the Hugging Face hub as a task: its pictures are written to a folder once and then read from there.

hf:owner/name[split]?identifier=sks&class_word=dog    options: those of a folder, and image=, text=, revision=, limit=

The folder is datasets/.hub/<name>-<digest of what was asked>; delete it to ask the hub again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError, nearest
from bench.core.paths import datasets
from bench.tasks import folder
from bench.tasks.base import FOLDER_OPTIONS, TaskSource, register
from bench.tasks.task import Task

FORM = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:\[(?P<split>.+)\])?")
MOST = 1000  # pictures of a task: beyond that it is no concept but a training set
OPTIONS = ("image", "text", "revision", "limit")


@register
@dataclass(frozen=True)
class Hub(TaskSource):
    """Data sets of the Hugging Face hub."""

    name = "hub"
    prefix = "hf:"
    form = "hf:owner/name[train]?class_word=dog"
    about = "a data set of the Hugging Face hub: pictures are written to datasets/.hub once"
    options = (*FOLDER_OPTIONS, *OPTIONS)
    whose = "hub task"

    def load(self, name: str) -> Task:
        spec, options = self.parse(name)
        return load(spec, **options)

    def away(self, name: str) -> str:
        spec, options = self.parse(name)
        there = _place(spec, *(options.get(key, "") for key in OPTIONS))[-1].is_dir()
        return "" if there else f"the data set {self.prefix}{spec}, from the hub"


def load(spec: str, image: str = "", text: str = "", revision: str = "", limit: str = "", **options: str) -> Task:
    """The task of a hub data set; `spec` is owner/name[split], the split "train" if none is named.

    image  the column of pictures; empty: the only one of that kind
    text   the column of captions; empty: "text" if there is one. The identifier is put in where a caption lacks it
    Raises LitmusError with the remedy without the library `datasets`, without a network, and for unknown names.
    """
    name, split, place = _place(spec, image, text, revision, limit)
    if not place.is_dir():
        _write(_rows(name, split, revision, limit), place, image, text)
    task = folder.load_any(place, **options)
    return replace(task, name=f"hf:{name}[{split}]")


def _place(spec: str, image: str, text: str, revision: str, limit: str) -> tuple[str, str, Path]:
    """(name, split, the folder it is written to) of what is asked; LitmusError for what cannot be a data set."""
    form = FORM.fullmatch(spec)
    if not form:
        raise LitmusError(f"hf:{spec} is no data set: write hf:owner/name or hf:owner/name[train]")
    if limit and not (limit.isdigit() and int(limit)):
        raise LitmusError(f"limit={limit} is not a number of pictures from 1 up")
    name, split = form["name"], form["split"] or "train"
    asked = [name, split, image, text, revision, limit]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
    return name, split, datasets() / ".hub" / f"{name.replace('/', '--')}-{digest}"


def _rows(name: str, split: str, revision: str, limit: str) -> Any:
    """The split as the library gives it, its pictures not yet decoded."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except ImportError:  # also where our own data folder of that name is found instead
        raise LitmusError(
            f"hf:{name} needs the library datasets: pip install 'peft-litmus[hub]', or download the pictures and use "
            "folder:PATH"
        ) from None
    if limit and "[" not in split and ":" not in split:
        split = f"{split}[:{limit}]"
    try:
        return load_dataset(name, split=split, revision=revision or None)
    except Exception as error:  # the library has a dozen types for a network, a name, a split, a script
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise LitmusError(
            f"cannot load hf:{name}[{split}] ({reason}): check the name, its split and the network; without one, bring "
            "the pictures here and use folder:PATH"
        ) from None


def _column(rows: Any, wanted: str) -> str:
    """The column of pictures."""
    columns = {name: type(feature).__name__ for name, feature in rows.features.items()}
    pictures = [name for name, kind in columns.items() if kind == "Image"]
    if wanted and wanted not in columns:
        raise LitmusError(nearest(wanted, columns, "column"))
    if wanted and wanted not in pictures:
        raise LitmusError(f"the column {wanted} holds no pictures (columns: {', '.join(columns)})")
    if wanted or len(pictures) == 1:
        return wanted or pictures[0]
    raise LitmusError(f"say which column holds the pictures, image=NAME (columns: {', '.join(columns)})")


def _write(rows: Any, place: Path, image: str, text: str) -> None:
    """The pictures as PNG and their captions as metadata.jsonl, in place all at once."""
    image = _column(rows, image)
    if text and text not in rows.features:
        raise LitmusError(nearest(text, rows.features, "column"))
    text = text or ("text" if "text" in rows.features else "")
    if not len(rows):
        raise LitmusError("the data set has no pictures: name another split")
    if len(rows) > MOST:
        raise LitmusError(f"the data set has {len(rows)} pictures, a task at most {MOST}: add limit=20")
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        lines = []
        for i, row in enumerate(rows):
            picture, name = row[image], f"{i:04}.png"
            (picture if picture.mode in ("RGB", "RGBA", "L") else picture.convert("RGB")).save(part / name)
            if text:
                lines.append(json.dumps({"file_name": name, "text": str(row[text])}, ensure_ascii=False) + "\n")
        if lines:
            (part / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
        part.rename(place)
    except OSError as error:
        raise LitmusError(f"cannot write in {place.parent}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
