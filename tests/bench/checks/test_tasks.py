"""The examination of tasks finds each planted fault, and only that."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, replace

import pytest

from bench.checks import tasks as checks
from bench.core.errors import LitmusError
from bench.tasks import SOURCES, TaskSource
from bench.tasks.folder import load


def failing(name: str) -> dict[str, str]:
    return {r.name: r.message for r in checks.examine(name) if not r.ok}


@pytest.mark.parametrize("kind", ["subject", "style"])
def test_a_sound_task_passes_everything(task_folder, kind):
    name = f"folder:{task_folder(kind)}"
    assert failing(name) == {}
    assert [r.name for r in checks.examine(name)] == [check.__name__ for check in checks.ALL]


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        ('class_word = "robot"', 'class_word = ""', "is_well_formed", "a subject needs a class word"),
        ('identifier = "sks"', 'identifier = "s k s"', "is_well_formed", "the identifier must be one word"),
        ('caption = "a sks robot on the beach"', 'caption = "a robot"', "captions_name_the_concept",
         "the caption of 0.png: 'a robot' lacks the identifier"),
        ('plain = "a robot on the beach"', 'plain = "a sks robot"', "captions_name_the_concept",
         "the plain caption of 0.png, 'a sks robot', contains the identifier sks"),
        ('plain = "a robot on the beach"', 'plain = " "', "captions_name_the_concept", "is empty"),
        ('text = "a sks robot in the forest"', 'text = "a robot"', "prompts_name_the_concept",
         "the prompt 'a robot' lacks the identifier"),
        ('plain = "a robot in the forest"', 'plain = "sks, a robot"', "prompts_name_the_concept",
         "the plain form of the prompt 'a sks robot in the forest', 'sks, a robot', contains the identifier"),
        ('text = "a robot on a table"', 'text = "a sks robot"', "prompts_name_the_concept", "'a sks robot' in prior"),
        ('text = "a house in the forest"', 'text = "sks"', "prompts_name_the_concept", "'sks' in drift"),
        ('text = "a sks robot in the forest"', 'text = "a sks robot in the snow"', "prompts_name_the_concept",
         "asked twice, which counts double: a sks robot in the snow"),
        ('file = "heldout/0.png"', 'file = "train/1.png"', "splits_are_clean",
         "trained on and held out: 1.png = 1.png"),
        ("truth/2-1.png", "train/0.png", "splits_are_clean", "trained on and truth: 0.png = 0.png"),
        ("truth = ['truth/2-0.png', 'truth/2-1.png']", "truth = []", "truth_is_whole",
         "no truth pictures for 'a sks robot on the beach', though other prompts have some"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_and_only_that(task_folder, old, new, check, words):
    file = task_folder() / "task.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = failing(f"folder:{file.parent}")
    assert words in found.pop(check)
    if check != "is_well_formed":  # an identifier that is no word is missed in every caption
        assert found == {}


def test_pictures_that_do_not_open_are_all_named(task_folder, picture):
    folder = task_folder()
    (folder / "train" / "0.png").write_bytes(b"no picture")
    picture(folder / "heldout" / "0.png", size=(4, 4))
    found = failing(f"folder:{folder}")
    assert "train/0.png is broken" in found["pictures_open"]
    assert "heldout/0.png is only 4×4 px" in found["pictures_open"]
    (folder / "truth" / "0-0.png").unlink()
    found = failing(f"folder:{folder}")
    assert "truth/0-0.png is missing" in found["pictures_open"]


def test_a_source_that_does_not_repeat_or_lists_another_split(task_folder):
    folder, count = task_folder(), itertools.count()

    @dataclass(frozen=True)
    class Fickle(TaskSource):
        name, prefix, form, about = "fickle", "fickle:", "fickle:", "a test"

        def load(self, name):
            return replace(load(folder), class_word=f"robot{next(count)}")

        def split_of(self, name):
            return "test"

    with SOURCES.kept():
        SOURCES.register(Fickle)
        found = failing("fickle:")
        with pytest.raises(AssertionError, match=r"fickle: fails the examination\nsplits_are_clean: .*\nrepeats: "):
            checks.check_task("fickle:")
    assert found.keys() == {"splits_are_clean", "repeats"}
    assert found["splits_are_clean"] == "the source lists it as 'test', the task itself says 'tuning'"
    assert "loaded twice, its digest is" in found["repeats"]


def test_a_task_that_cannot_be_loaded_is_one_line(tmp_path, task_folder, litmus_home):
    with pytest.raises(LitmusError, match="no folder"):
        checks.examine(f"folder:{tmp_path / 'none'}")
    shutil.copytree(task_folder(), litmus_home / "datasets" / "mine" / "robot")
    with pytest.raises(LitmusError, match="did you mean 'mine/robot'"):
        checks.examine("mine/robt")
