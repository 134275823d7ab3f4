"""Imagefolders and data sets of the hub: the library itself where it is installed, a stand-in for it elsewhere."""

from __future__ import annotations

import json
import sys
import types

import pytest
from PIL import Image as Pillow

from bench.core.errors import LitmusError
from bench.core.paths import datasets
from bench.tasks import load


class Image:
    """Stands for datasets.Image: only the name of the class is looked at."""


class Value:
    pass


class Rows(list):
    features = {"image": Image(), "text": Value()}


@pytest.fixture
def hub(monkeypatch):
    """The library's only function that is called, with what it was called with."""
    asked = []
    rows = Rows(
        {"image": Pillow.new(mode, (32, 24), i), "text": f"a dog in scene {i}"}
        for i, mode in enumerate(["RGB", "CMYK", "L", "RGBA"])
    )

    def load_dataset(name, split, revision):
        asked.append((name, split, revision))
        return rows

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return types.SimpleNamespace(asked=asked, rows=rows, module=module)


SPEC = "hf:someone/dogs[train]?class_word=dog"


def test_a_data_set_becomes_a_task_once(hub):
    task = load(f"{SPEC}&revision=abc")
    assert hub.asked == [("someone/dogs", "train", "abc")]
    assert task.name == "hf:someone/dogs[train]"
    assert [p.caption for p in task.train] == [f"a sks dog in scene {i}" for i in (0, 1, 3)]
    assert [p.plain for p in task.heldout] == ["a dog in scene 2"]
    assert task.train_images.shape == (3, 3, 512, 512)
    assert load(f"{SPEC}&revision=abc").digest == task.digest
    assert len(hub.asked) == 1  # the second time it is read from the folder
    assert len(list((datasets() / ".hub").iterdir())) == 1


def test_a_style_names_itself_in_every_caption(hub):
    task = load("hf:someone/inks?kind=style&resolution=32&limit=4")
    assert hub.asked == [("someone/inks", "train[:4]", None)]
    assert task.train[0].caption == "a dog in scene 0 in sks style"


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("hf:someone/dogs[train", r"is no data set: write hf:owner/name or hf:owner/name\[train\]"),
        (f"{SPEC}&column=image", "unknown option of a hub task 'column'"),
        (f"{SPEC}&limit=few", "limit=few is not a number"),
        (f"{SPEC}&image=picture", "unknown column 'picture'"),
        (f"{SPEC}&image=text", "the column text holds no pictures"),
        (f"{SPEC}&text=label", "unknown column 'label'"),
        ("hf:someone/dogs?class_word=cat", "names neither sks nor cat"),
    ],
)
def test_mistakes_are_one_line(hub, spec, line):
    with pytest.raises(LitmusError, match=line):
        load(spec)


def test_what_is_no_task_is_refused(hub):
    hub.rows.extend(hub.rows * 300)
    with pytest.raises(LitmusError, match="has 1204 pictures, a task at most 1000: add limit=20"):
        load(SPEC)
    hub.rows.clear()
    with pytest.raises(LitmusError, match="no pictures: name another split"):
        load(SPEC)
    assert not (datasets() / ".hub").exists()


def test_without_the_network_or_the_library_it_says_what_to_do(hub, monkeypatch):
    def offline(name, **options):
        raise ConnectionError("Couldn't reach 'someone/dogs' on the Hub (OfflineModeIsEnabled)\nmore")

    hub.module.load_dataset = offline
    with pytest.raises(
        LitmusError, match=r"cannot load hf:someone/dogs\[train\] \(Couldn't reach .*use folder:PATH"
    ) as e:
        load(SPEC)
    assert "\n" not in str(e.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LitmusError, match=r"pip install 'peft-litmus\[hub\]'"):
        load(SPEC)


def test_the_library_itself_reads_a_local_imagefolder(tmp_path, picture):
    library = pytest.importorskip("datasets")
    if not hasattr(library, "load_dataset"):
        pytest.skip("the data folder datasets/ was found instead of the library")
    from bench.tasks import hub

    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", seed=i)
    (tmp_path / "pictures" / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": f"{i}.png", "text": f"a dog {i}"}) + "\n" for i in range(3))
    )
    rows = library.load_dataset("imagefolder", data_dir=str(tmp_path / "pictures"), split="train")
    hub._write(rows, tmp_path / "written", "", "")
    task = load(f"folder:{tmp_path / 'written'}?class_word=dog")
    assert [p.caption for p in task.train] == ["a sks dog 0", "a sks dog 1", "a sks dog 2"]


# --- imagefolders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path, picture):
    for i in range(3):
        picture(tmp_path / "mine" / f"{i}.png", seed=i)
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", '{"file_name": "0.png", "text": "A Dog, asleep"}\n{"file_name": "2.png"}\n'),
        ("metadata.csv", 'file_name,text\n0.png,"A Dog, asleep"\n2.png,\n'),
    ],
)
def test_an_imagefolder_s_captions_are_read(pictures, name, text):
    (pictures / name).write_text(text)
    (pictures / "1.txt").write_text("my sks dog")
    assert [p.caption for p in load(f"folder:{pictures}?class_word=dog").train] == [
        "A sks dog, asleep",
        "my sks dog",
        "a sks dog",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"file_name": "9.png", "text": "a dog"}', "unknown picture '9.png'"),
        ('{"text": "a dog"}', "write a file_name and a text for each picture, not"),
        ("[1]", "a line is no object"),
        ("{", "cannot be read"),
        ('{"file_name": "0.png", "text": "a thing"}', "'a thing' names neither sks nor dog"),
    ],
)
def test_a_wrong_metadata_file_is_one_line(pictures, text, line):
    (pictures / "metadata.jsonl").write_text(text)
    with pytest.raises(LitmusError, match=line):
        load(f"folder:{pictures}?class_word=dog")
