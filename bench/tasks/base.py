"""Where tasks come from: what a source of tasks is, and the registry of sources. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl

from bench.core.errors import LitmusError, nearest
from bench.plugin.registry import Part, Registry

if TYPE_CHECKING:
    from bench.tasks.task import Task

FOLDER_OPTIONS = ("identifier", "class_word", "kind", "live", "resolution")  # what a folder of pictures can be told


@dataclass(frozen=True)
class TaskSource(Part):
    """One way in which tasks are named, found and loaded.

    A task's name is `prefix`, what the source makes of the rest, and maybe options: prefix:PATH?key=value&key=value.
    Only `load` must be written; `names` too where the source knows what it has.
    """

    prefix: ClassVar[str]  # how its tasks' names begin: "folder:" (an open set), "dreambooth/" (a known one)
    form: ClassVar[str]  # how one is written, for people: "folder:PATH?class_word=dog"
    about: ClassVar[str]  # the source's card, one line: what its tasks are and where they lie
    options: ClassVar[tuple[str, ...]] = ()  # keys that may follow the "?"
    path: ClassVar[bool] = False  # what follows the prefix is a path: `litmus run` makes it absolute
    licence: ClassVar[str] = ""  # of all its pictures, where the task itself says none
    whose: ClassVar[str] = "task"  # "a ... of": in the line about an unknown option

    def recognises(self, name: str) -> bool:
        """Whether `name` is one of this source's, be it there or not."""
        return name.startswith(self.prefix)

    def names(self) -> list[str]:
        """Names of the tasks that are there; empty where the set is open. Opens no picture."""
        return []

    def load(self, name: str) -> Task:
        """The task `name`, none of its pictures opened: who asks the registry gets it checked.

        Raises LitmusError with the remedy for what is unknown, missing or wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how a task is loaded: write load(self, name)")

    def peek(self, name: str) -> Task:
        """`load` for lists and cards: may leave out what takes long, such as checksums."""
        return self.load(name)

    def away(self, name: str) -> str:
        """What must be fetched before the task `name` can be loaded, in words; "" where it is here. Fetches nothing."""
        return ""

    def split_of(self, name: str) -> str:
        """ "tuning", "test" or "user": the split of the task `name`, found without its pictures."""
        return self.peek(name).split

    def licence_of(self, name: str) -> str:
        """The licence of the pictures of the task `name` where the task itself says none; "" where nothing is known."""
        return self.licence

    def parse(self, name: str) -> tuple[str, dict[str, str]]:
        """What follows the prefix, and the options: "folder:rex?identifier=sks" -> ("rex", {"identifier": "sks"}).

        LitmusError with the nearest for an option that is not the source's.
        """
        rest, _, query = name.removeprefix(self.prefix).partition("?")
        found = dict(parse_qsl(query, keep_blank_values=True))
        for key in found:
            if key not in self.options:
                raise LitmusError(nearest(key, self.options, f"option of a {self.whose}"))
        return rest, found


FACTS = ("name", "prefix", "form", "about")

SOURCES: Registry[TaskSource] = Registry("task source", "bench.tasks", FACTS, "litmus tasks")
SOURCES.group = "litmus.tasks"
register = SOURCES.register  # the class decorator


def source_of(name: str) -> TaskSource | None:
    """The source that recognises `name`, the one with the longest prefix; None where there is none."""
    SOURCES.load()
    fitting = [cls() for cls in sorted(SOURCES.values(), key=lambda cls: (-len(cls.prefix), cls.name))]
    return next((source for source in fitting if source.recognises(name)), None)


def unknown(name: str, known: list[str]) -> LitmusError:
    """The line about a name that no source recognises, with what was meant: a folder, a prefix, or the nearest name."""
    if Path(name.partition("?")[0]).expanduser().is_dir():
        return LitmusError(f"{name} is a folder: write folder:{name}")
    if name.startswith((".", "/", "~")):
        return LitmusError(f"there is no folder {name}: give a path that exists, as folder:PATH, or a task's name")
    scheme, colon, _ = name.partition(":")
    if colon:
        prefixes = {cls.prefix for cls in SOURCES.values() if cls.prefix.endswith(":")}
        return LitmusError(nearest(f"{scheme}:", prefixes, "beginning of a task's name"))
    return LitmusError(nearest(name, known, "task"))
