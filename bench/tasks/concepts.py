"""Concepts in the form of CustomConcept101: a dataset.json that names each concept's folder, words and prompts.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", CVPR 2023, arXiv:2212.04488. The 101 concepts
lie in datasets/customconcept101 or where $LITMUS_CUSTOMCONCEPT101 says: dataset.json, prompts/ and benchmark_dataset/
as their repository and its archive have them. They are not fetched: their publishers give no checksums.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError, nearest
from bench.core.paths import datasets
from bench.tasks import folder
from bench.tasks.base import TaskSource, register
from bench.tasks.task import Task

IDENTIFIER = "sks"
MODIFIER = re.compile(r"<new\d*>\s*")  # what stands for the identifier in instance_prompt
NEEDED = ("instance_prompt", "class_prompt", "instance_data_dir")


@register
@dataclass(frozen=True)
class Concepts(TaskSource):
    """Concepts of any dataset.json in CustomConcept101's form."""

    name = "concepts"
    prefix = "concepts:"
    form = "concepts:FILE?name=plushie_cow"
    about = "a concept of any dataset.json in the form of CustomConcept101"
    options = ("name", "identifier")
    path = True
    whose = "concept"

    def load(self, name: str) -> Task:
        path, options = self.parse(name)
        if "name" not in options:
            raise LitmusError(f"{name} names no concept: concepts:{path}?name=NAME")
        return load(Path(path).expanduser(), options["name"], options.get("identifier", IDENTIFIER))


def home() -> Path:
    """Where the 101 concepts lie, whether or not they are there."""
    if path := os.environ.get("LITMUS_CUSTOMCONCEPT101"):
        return Path(path).expanduser()
    return datasets() / "customconcept101"


def listed(path: Path) -> dict[str, dict[str, Any]]:
    """Name of a concept, which is its folder's, -> its entry; `path` is a dataset.json or the folder that holds it."""
    file = path / "dataset.json" if path.is_dir() else path
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise LitmusError(
            f"no list of concepts {file}: put CustomConcept101's dataset.json, prompts/ and benchmark_dataset/ there"
        ) from None
    except ValueError as error:
        raise LitmusError(f"{file} is not JSON: {error}") from None
    found = {}
    for row in rows if isinstance(rows, list) else [rows]:
        if isinstance(row, list):
            raise LitmusError(f"{file} combines several concepts: a task has one, use dataset.json")
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in NEEDED):
            raise LitmusError(f"{file}: each concept needs {', '.join(NEEDED)}, not {str(row)[:80]}")
        found[Path(row["instance_data_dir"]).name] = row
    return found


def names() -> list[str]:
    """Names of the concepts whose pictures are there; empty where there is no copy."""
    try:
        rows = listed(home())
    except LitmusError:
        return []
    return sorted(name for name, row in rows.items() if (home() / row["instance_data_dir"]).is_dir())


def load(path: Path, name: str, identifier: str = IDENTIFIER, resolution: int = 512) -> Task:
    """The concept `name` of the list at `path` as a subject task, with the caption and the prompts of its own.

    Every third picture is held out, as in any folder. Raises LitmusError for an unknown concept and for a missing
    folder or prompt file.
    """
    rows = listed(path)
    if name not in rows:
        raise LitmusError(nearest(name, rows, "concept"))
    row, root = rows[name], path if path.is_dir() else path.parent
    place = root / row["instance_data_dir"]
    if not place.is_dir():
        raise LitmusError(f"no folder {place}: unpack the pictures of {name} there")
    own = _prompts(root / row["prompt_filename"]) if row.get("prompt_filename") else None
    class_word = " ".join(row["class_prompt"].split())
    caption = " ".join(MODIFIER.sub(f"{identifier} ", row["instance_prompt"]).split())
    if identifier not in caption.split():
        caption = folder.with_identifier(caption, identifier, class_word, "subject")
    task = folder.photos(place, identifier, class_word, resolution=resolution, caption=caption, own=own)
    return replace(task, name=name)


def _prompts(file: Path) -> list[str]:
    """The lines of a prompt file, {} for the concept; a full stop at the end is left out, as captions have none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LitmusError(f"cannot read the prompts {file}: {error.strerror}") from None
    return [line.strip().rstrip(".") for line in lines if line.strip()]
