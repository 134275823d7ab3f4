"""Task folders below datasets/: datasets/pocket/subject-mug is the task pocket/subject-mug."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.paths import datasets
from bench.tasks import folder
from bench.tasks.base import TaskSource, register
from bench.tasks.packed import ensure_tasks
from bench.tasks.task import Task

LICENCES = {"pocket": "Apache-2.0"}  # of collections whose task.toml leave it out


@register
@dataclass(frozen=True)
class Local(TaskSource):
    """Folders with a task.toml, two levels below datasets/: the collection, then the task."""

    name = "local"
    prefix = ""
    form = "pocket/subject-mug"
    about = "a folder with task.toml below datasets/: the pocket world's, fetched styles, your own collections"

    def recognises(self, name: str) -> bool:
        if not name.partition("/")[2]:
            return False
        ensure_tasks()
        return _file(name).is_file()

    def names(self) -> list[str]:
        ensure_tasks()
        return [f"{file.parent.parent.name}/{file.parent.name}" for file in datasets().glob("*/*/task.toml")]

    def load(self, name: str) -> Task:
        return folder.load(_file(name).parent, name=name)

    def split_of(self, name: str) -> str:
        return folder.split_of(_file(name))

    def licence_of(self, name: str) -> str:
        return LICENCES.get(name.partition("/")[0], "")


def _file(name: str) -> Path:
    return datasets() / name / "task.toml"
