"""The examination of tasks: what every task must be so that its scores mean something. Imports no torch.

Each check takes a Trial (one task, loaded twice) and fails with an AssertionError in plain words. `examine` runs them
all and reports, for `litmus check-task NAME`; `check_task` raises, for a source's own tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.checks.result import Result, attempt, demand
from bench.core.errors import LitmusError
from bench.tasks import KINDS, SPLITS, Task, TaskSource, source
from bench.tasks.task import open_picture, without

FEW = 3  # names in a message


@dataclass(frozen=True)
class Trial:
    """A task as its source gives it: `task` and, from a second call, `again`."""

    name: str
    source: TaskSource
    task: Task
    again: Task


def _some(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:FEW]) + (f" and {len(shown) - FEW} more" if len(shown) > FEW else "")


def _words(text: str) -> list[str]:
    return [word.strip(".,") for word in text.split()]


def is_well_formed(trial: Trial) -> None:
    """Kind and split are known words, it has pictures and prompts, and the identifier is one word."""
    task = trial.task
    assert task.kind in KINDS, f"kind is one of {', '.join(KINDS)}, not {task.kind!r}"
    assert task.split in SPLITS, f"split is one of {', '.join(SPLITS)}, not {task.split!r}"
    assert task.train, "it has no pictures to train on"
    assert task.prompts, "it has no prompts: nothing can be scored"
    one_word = task.identifier and len(task.identifier.split()) == 1
    assert one_word, f"the identifier must be one word, such as sks, not {task.identifier!r}"
    assert task.class_word or task.kind == "style", "a subject needs a class word: it says what the pictures show"


def pictures_open(trial: Trial) -> None:
    """Every picture is there, whole and large enough."""
    bad = []
    for file in trial.task.files():
        try:
            open_picture(file)
        except LitmusError as error:
            bad.append(str(error))
    assert not bad, _some(bad)


def captions_name_the_concept(trial: Trial) -> None:
    """Each caption contains the identifier, and its plain form is the same without."""
    task = trial.task
    for picture in (*task.train, *task.heldout):
        where = f"{picture.file.name}: {picture.caption!r}"
        assert task.identifier in _words(picture.caption), f"the caption of {where} lacks the identifier"
        _plain(task, picture.plain, f"the plain caption of {picture.file.name}, {picture.plain!r},")


def prompts_name_the_concept(trial: Trial) -> None:
    """Each prompt contains the identifier, its plain form does not, and prompts of prior and drift do not."""
    task = trial.task
    for prompt in task.prompts:
        assert task.identifier in _words(prompt.text), f"the prompt {prompt.text!r} lacks the identifier"
        _plain(task, prompt.plain, f"the plain form of the prompt {prompt.text!r}, {prompt.plain!r},")
    for part in ("prior", "drift"):
        for prompt in getattr(task, part):
            _plain(task, prompt.text, f"{prompt.text!r} in {part}")
            _plain(task, prompt.plain, f"the plain form of {prompt.text!r} in {part}")
    texts = [prompt.text for prompt in task.prompts]
    twice = {text for text in texts if texts.count(text) > 1}
    assert not twice, f"asked twice, which counts double: {_some(sorted(twice))}"


def _plain(task: Task, text: str, what: str) -> None:
    assert text.strip(), f"{what} is empty"
    assert without(text, task.identifier) == " ".join(text.split()), f"{what} contains the identifier {task.identifier}"


def splits_are_clean(trial: Trial) -> None:
    """No held-out or truth picture is one that is trained on, and the source says the same split as the task."""
    task = trial.task
    told = trial.source.split_of(trial.name)
    assert told == task.split, f"the source lists it as {told!r}, the task itself says {task.split!r}"
    trained = {_digest(picture.file): picture.file for picture in task.train}
    for part, files in (
        ("held out", [picture.file for picture in task.heldout]),
        ("truth", [file for prompt in task.prompts for file in prompt.truth]),
    ):
        leaks = [f"{file.name} = {trained[d].name}" for file in files if (d := _digest(file)) in trained]
        assert not leaks, f"trained on and {part}: {_some(leaks)}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def truth_is_whole(trial: Trial) -> None:
    """Every prompt has truth pictures or none has: with a gap the task has no ceiling."""
    lacking = [prompt.text for prompt in trial.task.prompts if not prompt.truth]
    some = len(lacking) < len(trial.task.prompts)
    assert not (lacking and some), f"no truth pictures for {_some(map(repr, lacking))}, though other prompts have some"


def repeats(trial: Trial) -> None:
    """Loaded again it is the same task, to the last byte: a record names it by its digest."""
    one, two = trial.task.digest, trial.again.digest
    assert one == two, f"loaded twice, its digest is {one}, then {two}: nothing about a task may be drawn anew"


Check = Callable[[Trial], None]

ALL: tuple[Check, ...] = (
    is_well_formed,
    pictures_open,
    captions_name_the_concept,
    prompts_name_the_concept,
    splits_are_clean,
    truth_is_whole,
    repeats,
)


def examine(name: str, checks: Sequence[Check] | None = None) -> list[Result]:
    """Every check on the task `name`, none skipped because another failed. LitmusError where it cannot be loaded."""
    found = source(name)
    trial = Trial(name, found, found.load(name), found.load(name))
    return [attempt(check, trial) for check in (ALL if checks is None else checks)]


def check_task(name: str) -> None:
    """For a source's own test suite: AssertionError with a line for each check that the task `name` fails."""
    demand(examine(name), f"{name} fails the examination")
