"""Tasks by name: the pocket world's, any folder of pictures, DreamBooth's subjects. Importing this loads no torch.

pocket/subject-robot                         a task folder below datasets/ (here datasets/pocket/subject-robot)
folder:PATH?identifier=sks&class_word=dog    any folder of pictures, or a task folder with task.toml
dreambooth/dog6                              a subject of google/dreambooth, from datasets/dreambooth
customconcept101/plushie_cow                 a concept of CustomConcept101, from datasets/customconcept101
concepts:FILE?name=plushie_cow               a concept of any dataset.json in that form
hf:owner/name[split]?class_word=dog          a data set of the Hugging Face hub
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bench.core.errors import LitmusError, nearest
from bench.core.paths import datasets
from bench.tasks.packed import ensure_tasks
from bench.tasks.task import KINDS, SPLITS, Picture, Prompt, Task

__all__ = ["KINDS", "SPLITS", "Picture", "Prompt", "Task", "list_tasks", "load"]


def load(spec: str) -> Task:
    """The task that `spec` names, every picture checked.

    Raises LitmusError for an unknown name (with the nearest), a missing or empty folder, a wrong task.toml, and a
    picture that is missing, broken or smaller than 8 px a side (with its file name).
    """
    from bench.tasks import concepts, dreambooth, folder, hub

    if spec.startswith("folder:"):
        path, options = _options(spec.removeprefix("folder:"))
        return folder.load_any(path, **options).check()
    if spec.startswith("hf:"):
        name, options = _options(spec.removeprefix("hf:"), (*_KNOWN, *hub.OPTIONS), "a hub task")
        return hub.load(name, **options).check()
    if spec.startswith("concepts:"):
        path, options = _options(spec.removeprefix("concepts:"), ("name", "identifier"), "a concept")
        if "name" not in options:
            raise LitmusError(f"{spec} names no concept: concepts:{path}?name=NAME")
        return concepts.load(Path(path).expanduser(), **options).check()
    collection, _, name = spec.partition("/")
    if collection == "dreambooth":
        return dreambooth.load(name).check()
    if collection == "customconcept101":
        return replace(concepts.load(concepts.home(), name), name=spec, split="test").check()
    ensure_tasks()
    path = datasets() / collection / name
    if not name or not (path / "task.toml").is_file():
        raise LitmusError(nearest(spec, list_tasks(), "task"))
    return folder.load(path, name=spec).check()


def list_tasks(split: str | None = None) -> list[str]:
    """Names of the tasks that are there, sorted; of one `split` ("tuning", "test", "user") or of all.

    DreamBooth's subjects are "test" but for four (dreambooth.TUNING), CustomConcept101's concepts "test".
    """
    from bench.tasks import concepts, dreambooth, folder

    if split is not None and split not in SPLITS:
        raise LitmusError(nearest(split, SPLITS, "split"))
    ensure_tasks()
    found = []
    for file in sorted(datasets().glob("*/*/task.toml")):
        if split is None or folder.split_of(file) == split:
            found.append(f"{file.parent.parent.name}/{file.parent.name}")
    found += [f"dreambooth/{x}" for x in dreambooth.subjects() if split in (None, dreambooth.split_of(x))]
    if split in (None, "test"):
        found += [f"customconcept101/{name}" for name in concepts.names()]
    return sorted(found)


_KNOWN = ("identifier", "class_word", "kind", "live", "resolution")


def _options(text: str, known: tuple[str, ...] = _KNOWN, what: str = "a folder task") -> tuple[str, dict[str, Any]]:
    """ "PATH?identifier=sks" -> ("PATH", {"identifier": "sks"})."""
    path, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for key in options:
        if key not in known:
            raise LitmusError(nearest(key, known, f"option of {what}"))
    return path, options
