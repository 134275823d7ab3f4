"""How `litmus run` names a task: paths absolute, the words of a folder beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import LitmusError
from bench.protocol.models import load_protocol
from bench.runner.single import on, task_name


def test_paths_are_made_absolute_and_words_are_added():
    here = Path.cwd()
    assert task_name("folder:rex", "sks", "toy dog", None) == f"folder:{here}/rex?identifier=sks&class_word=toy%20dog"
    assert task_name("folder:rex?live=true", None, "dog", None) == f"folder:{here}/rex?live=true&class_word=dog"
    assert task_name("hf:a/b[train]", None, None, "style") == "hf:a/b[train]?kind=style"
    assert task_name("concepts:my.json?name=cow", None, None, None) == f"concepts:{here}/my.json?name=cow"
    assert task_name("concepts:my.json?name=cow", "zwx", None, None) == (
        f"concepts:{here}/my.json?name=cow&identifier=zwx"
    )
    assert task_name("pocket/subject-mug", None, None, None) == "pocket/subject-mug"
    assert task_name("pocket/unheard-of", None, None, None) == "pocket/unheard-of"


@pytest.mark.parametrize("word", [None, "dog"])
def test_a_folder_without_its_beginning_is_told_how_to_be_written(tmp_path, monkeypatch, word):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LitmusError, match=r"^\./photos is a folder: write folder:\./photos$"):
        task_name("./photos", None, word, None)


@pytest.mark.parametrize("task", ["pocket/subject-mug", "concepts:my.json?name=cow"])
def test_a_task_with_words_of_its_own_takes_none(task):
    with pytest.raises(LitmusError, match="--class-word describes a folder of pictures"):
        task_name(task, None, "dog", None)


def test_a_protocol_on_another_base_has_a_name_of_its_own_and_is_the_same_else():
    real = load_protocol("real")
    moved = on(real, "models/sd xl@main?dtype=bf16&resolution=1024")
    assert (moved.name, moved.base) == ("real-sd-xl", "models/sd xl@main?dtype=bf16&resolution=1024")
    assert moved.title == f"{real.title} (here on sd xl)"
    assert moved.model_copy(update={"name": real.name, "base": real.base, "title": real.title}) == real
