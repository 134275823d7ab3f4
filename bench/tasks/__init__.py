"""Tasks by name: a source (bench.tasks.base.TaskSource) recognises it and loads it. Importing this loads no torch.

pocket/subject-robot                         a task folder below datasets/ (here datasets/pocket/subject-robot)
folder:PATH?identifier=sks&class_word=dog    any folder of pictures, or a task folder with task.toml
dreambooth/dog6                              a subject of google/dreambooth, from datasets/dreambooth
customconcept101/plushie_cow                 a concept of CustomConcept101, from datasets/customconcept101
concepts:FILE?name=plushie_cow               a concept of any dataset.json in that form
hf:owner/name[split]?class_word=dog          a data set of the Hugging Face hub

and whatever other sources are registered: one file each (docs/adding-a-task.md).
"""

from __future__ import annotations

from bench.core.errors import LitmusError, nearest
from bench.tasks.base import SOURCES, TaskSource, register, source_of, unknown
from bench.tasks.task import KINDS, SPLITS, Picture, Prompt, Task

__all__ = [
    "KINDS", "SOURCES", "SPLITS", "LitmusError", "Picture", "Prompt", "Task", "TaskSource", "licence", "list_tasks",
    "load", "peek", "register", "source",
]  # fmt: skip


def source(name: str) -> TaskSource:
    """The source of the task `name`. LitmusError with the nearest name where none recognises it."""
    found = source_of(name)
    if found is None:
        raise unknown(name, list_tasks())
    return found


def load(name: str) -> Task:
    """The task that `name` names, every picture checked.

    Raises LitmusError for an unknown name (with the nearest), a missing or empty folder, a wrong task.toml, and a
    picture that is missing, broken or smaller than 8 px a side (with its file name).
    """
    return source(name).load(name).check()


def peek(name: str) -> Task:
    """The task that `name` names, no picture opened: for lists and cards."""
    return source(name).peek(name)


def list_tasks(split: str | None = None) -> list[str]:
    """Names of the tasks that are there, sorted; of one `split` ("tuning", "test", "user") or of all."""
    if split is not None and split not in SPLITS:
        raise LitmusError(nearest(split, SPLITS, "split"))
    SOURCES.load()
    found = [(name, one) for one in (cls() for cls in SOURCES.values()) for name in one.names()]
    return sorted({name for name, one in found if split is None or _split(one, name) == split})


def _split(one: TaskSource, name: str) -> str:
    """ "" for a task that cannot be read, which is of no split."""
    try:
        return one.split_of(name)
    except LitmusError:
        return ""


def licence(name: str, task: Task) -> str:
    """The licence of the pictures of `task`, which was loaded as `name`; "" where nobody says it."""
    return task.licence or source(name).licence_of(name)
