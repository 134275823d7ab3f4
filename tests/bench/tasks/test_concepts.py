"""Folders in CustomConcept101's form: dataset.json, prompt files, a folder of pictures per concept."""

from __future__ import annotations

import json

import pytest

from bench.core.errors import LitmusError
from bench.tasks import list_tasks, load

ROWS = [
    {
        "instance_prompt": "photo of a <new1> cow plushie",
        "class_prompt": "cow plushie",
        "instance_data_dir": "./benchmark_dataset/plushie_cow",
        "class_data_dir": "./regularization/plushie_cow",
        "prompt_filename": "prompts/plushie.txt",
    },
    {
        "instance_prompt": "photo of a <new1> barn",
        "class_prompt": "barn",
        "instance_data_dir": "./benchmark_dataset/scene_barn",
    },
    {"instance_prompt": "photo of a cup", "class_prompt": "cup", "instance_data_dir": "./benchmark_dataset/cup"},
]


@pytest.fixture
def root(tmp_path, picture, monkeypatch):
    """A copy with the pictures of two of its three concepts."""
    root = tmp_path / "concepts"
    for name, n in (("plushie_cow", 4), ("cup", 3)):
        for i in range(n):
            picture(root / "benchmark_dataset" / name / f"{i}.jpeg", seed=i)
    (root / "prompts").mkdir()
    (root / "prompts" / "plushie.txt").write_text("Photo of a {}.\n{} in grand canyon.\n\n")
    (root / "dataset.json").write_text(json.dumps(ROWS))
    monkeypatch.setenv("LITMUS_CUSTOMCONCEPT101", str(root))
    return root


def test_a_concept_has_its_own_words(root):
    task = load("customconcept101/plushie_cow")
    assert (task.name, task.split, task.class_word) == ("customconcept101/plushie_cow", "test", "cow plushie")
    assert {p.caption for p in task.train} == {"photo of a sks cow plushie"}
    assert {p.plain for p in task.train} == {"photo of a cow plushie"}
    assert [p.text for p in task.prompts] == ["Photo of a sks cow plushie", "sks cow plushie in grand canyon"]
    assert (len(task.train), len(task.heldout)) == (3, 1)
    assert list_tasks("test") == ["customconcept101/cup", "customconcept101/plushie_cow"]


def test_one_s_own_list_in_the_same_form(root, monkeypatch):
    monkeypatch.delenv("LITMUS_CUSTOMCONCEPT101")
    task = load(f"concepts:{root / 'dataset.json'}?name=cup&identifier=zwx")
    assert task.train[0].caption == "photo of a zwx cup"
    assert len(task.prompts) == 25  # it names no prompts of its own
    assert task.split == "user"
    assert load(f"concepts:{root}?name=cup&identifier=zwx").digest == task.digest


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("customconcept101/plushie_dow", "unknown concept 'plushie_dow': did you mean 'plushie_cow'"),
        ("customconcept101/scene_barn", "no folder .*scene_barn: unpack the pictures of scene_barn there"),
        ("concepts:{}", "names no concept: concepts:.*name=NAME"),
        ("concepts:{}?nam=cup", "unknown option of a concept 'nam': did you mean 'name'"),
        ("concepts:{}/nowhere?name=cup", "no list of concepts .*nowhere"),
    ],
)
def test_mistakes_are_one_line(root, spec, line):
    with pytest.raises(LitmusError, match=line):
        load(spec.format(root))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "is not JSON"),
        ('[{"class_prompt": "cup"}]', "each concept needs instance_prompt, class_prompt, instance_data_dir"),
        ("[[{}, {}]]", "combines several concepts"),
    ],
)
def test_a_wrong_list_is_one_line(root, text, line):
    (root / "dataset.json").write_text(text)
    with pytest.raises(LitmusError, match=line):
        load("customconcept101/cup")
    assert list_tasks() == []


def test_missing_prompts_are_named(root):
    (root / "prompts" / "plushie.txt").unlink()
    with pytest.raises(LitmusError, match=r"cannot read the prompts .*plushie\.txt"):
        load("customconcept101/plushie_cow")
