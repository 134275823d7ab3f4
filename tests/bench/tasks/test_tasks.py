"""Tasks: what a folder says is what is loaded, and every mistake names its file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import LitmusError
from bench.protocol.models import load_protocol
from bench.tasks import dreambooth, folder, list_tasks, load
from bench.tasks import prompts as words
from bench.tasks.task import open_picture, read_images, without


def test_a_task_folder_says_it_all(toy_task):
    assert (toy_task.kind, toy_task.split, toy_task.class_word, toy_task.identifier) == (
        "subject", "tuning", "robot", "sks",
    )  # fmt: skip
    assert [p.plain for p in toy_task.train] == ["a robot on the beach", "a robot in the city", "a robot in the snow"]
    assert toy_task.train_images.shape == (3, 3, 32, 32)
    assert toy_task.heldout_images.shape == (1, 3, 32, 32)
    assert [x.shape for x in toy_task.truth_images] == [(2, 3, 32, 32)] * 3
    assert toy_task.prompts[0].asks == {"class": "robot", "scene": "forest"}
    assert toy_task.prior[0].text == toy_task.prior[0].plain == "a robot in the snow"
    assert toy_task.has_truth
    assert "a house in the forest" in toy_task.texts()


def test_pictures_are_the_files_pixels(toy_task):
    with Image.open(toy_task.train[1].file) as picture:
        pixels = torch.tensor(np.array(picture)).view(32, 32, 3)
    assert torch.equal((toy_task.train_images[1] * 255).round().long(), pixels.permute(2, 0, 1))


def test_at_changes_the_resolution_alone(toy_task):
    small = toy_task.at(16)
    assert small.train_images.shape == (3, 3, 16, 16)
    assert small.digest == toy_task.digest
    assert toy_task.at(32) is toy_task


def test_the_digest_follows_pictures_and_words_but_not_the_place(task_folder, tmp_path, picture):
    first = task_folder()
    digest = folder.load(first).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(first, moved)
    assert folder.load(moved).digest == digest
    picture(moved / "truth" / "1-1.png", seed=99)
    assert folder.load(moved).digest != digest
    toml = first / "task.toml"
    toml.write_text(toml.read_text().replace("a house in the forest", "a house in the city"))
    assert folder.load(first).digest != digest


def test_loading_needs_no_torch(task_folder):
    code = (
        "import sys; from bench.tasks import load, list_tasks; import bench.metrics; list_tasks();"
        f"print(load('folder:{task_folder()}').digest, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[1] == "False"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('kind = "subject"', 'kind = "subjct"', "unknown kind 'subjct': did you mean 'subject'"),
        ('split = "tuning"', 'split = "train"', "unknown split 'train'"),
        ("resolution = 32", "resolutoin = 32", "unknown key 'resolutoin': did you mean 'resolution'"),
        ("format = 1", "format = 2", "format = 2, this version reads format = 1"),
        ('identifier = "sks"', "", "identifier is missing or not text"),
        ('plain = "a robot on the beach"', 'plane = "x"', "'plane': did you mean 'plain'.*in \\[\\[train\\]\\]"),
        ("[[train]]", "[[heldout]]", "at least one \\[\\[train\\]\\]"),
        ("format = 1", "format = ", "is not TOML"),
        ("resolution = 32", "resolution = 2", "resolution = 2 is not a number of pixels"),
    ],
)
def test_a_wrong_task_file_is_one_clear_line(task_folder, old, new, line):
    file = task_folder() / "task.toml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(LitmusError, match=line) as error:
        folder.load(file.parent)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_pictures_are_named(task_folder, picture):
    def fails(line, file):
        with pytest.raises(LitmusError, match=line) as error:
            load(f"folder:{path}")
        assert str(file) in str(error.value)

    path = task_folder()
    whole = (path / "train" / "0.png").read_bytes()
    for name, damage in (
        ("train/0.png", whole[: len(whole) // 2]),
        ("truth/2-1.png", b"not a picture"),
        ("heldout/0.png", b""),
    ):
        kept = (path / name).read_bytes()
        (path / name).write_bytes(damage)
        fails("is broken", path / name)
        (path / name).write_bytes(kept)
    picture(path / "train" / "1.png", size=(40, 7))
    fails("only 40×7 px", path / "train" / "1.png")
    (path / "train" / "1.png").unlink()
    fails("is missing", path / "train" / "1.png")


def test_photos_of_all_sorts_become_rgb(tmp_path):
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    Image.new("L", (40, 20), 128).save(tmp_path / "grey.jpg")
    Image.new("P", (20, 40)).save(tmp_path / "palette.png")
    turned = Image.new("RGB", (32, 16))
    turned.paste((255, 255, 255), (0, 0, 16, 16))
    exif = turned.getexif()
    exif[0x0112] = 6  # a camera held sideways: turn right by 90 degrees to see it upright
    turned.save(tmp_path / "turned.png", exif=exif)
    assert open_picture(tmp_path / "turned.png").size == (16, 32)
    x = read_images([tmp_path / "clear.png", tmp_path / "grey.jpg", tmp_path / "palette.png"], 16)
    assert x.shape == (3, 3, 16, 16)
    assert x[0].eq(1).all()  # transparent: the paper shows, not what lies under it
    assert x[1].sub(128 / 255).abs().max() < 0.02


def test_cropping_takes_the_centre(tmp_path):
    wide = Image.new("RGB", (96, 32))
    wide.paste((255, 255, 255), (32, 0, 64, 32))
    wide.save(tmp_path / "wide.png")
    assert read_images([tmp_path / "wide.png"], 32).eq(1).all()


def test_a_plain_folder_with_two_words(tmp_path, picture):
    for i in range(7):
        picture(tmp_path / "my dog" / f"{i}.jpg", seed=i)
    task = load(f"folder:{tmp_path / 'my dog'}?identifier=zwx&class_word=dog")
    assert [p.file.name for p in task.heldout] == ["2.jpg", "5.jpg"]
    assert len(task.train) == 5
    assert {p.caption for p in task.train} == {"a zwx dog"}
    assert {p.plain for p in task.train} == {"a dog"}
    assert len(task.prompts) == 25
    assert task.prompts[10].text == "a zwx dog wearing a red hat"  # a dog is asked the live prompts
    assert task.prompts[10].plain == "a dog wearing a red hat"
    assert len(task.prior) == len(task.drift) == 8
    assert not task.has_truth
    assert "Eiffel" in load(f"folder:{tmp_path / 'my dog'}?class_word=dog&live=false").prompts[12].text
    assert task.at(16).train_images.shape == (5, 3, 16, 16)


@pytest.mark.parametrize(("n", "held"), [(1, 0), (3, 0), (4, 1), (6, 2)])
def test_few_pictures_are_all_trained_on(tmp_path, picture, n, held):
    for i in range(n):
        picture(tmp_path / f"{i}.png", seed=i)
    task = folder.photos(tmp_path, class_word="dog")
    assert (len(task.train), len(task.heldout)) == (n - held, held)


def test_captions_and_prompts_of_ones_own(tmp_path, picture):
    for i in range(3):
        picture(tmp_path / f"{i}.png", seed=i)
    (tmp_path / "captions.txt").write_text("0.png: a sks dog on the beach\n\n1.png: a sks dog: sitting\n")
    (tmp_path / "2.txt").write_text("a sks dog\nin the snow\n")
    (tmp_path / "prompts.txt").write_text("a {} in the forest\nneon, {}\n")
    task = folder.photos(tmp_path, class_word="dog")
    assert [p.caption for p in task.train] == ["a sks dog on the beach", "a sks dog: sitting", "a sks dog in the snow"]
    assert [p.text for p in task.prompts] == ["a sks dog in the forest", "neon, sks dog"]
    (tmp_path / "captions.txt").write_text("3.png: a sks dog")
    with pytest.raises(LitmusError, match=r"unknown picture '3\.png'"):
        folder.photos(tmp_path, class_word="dog")
    (tmp_path / "captions.txt").write_text("0.png: a dog")
    with pytest.raises(LitmusError, match="lacks the identifier sks"):
        folder.photos(tmp_path, class_word="dog")
    (tmp_path / "captions.txt").unlink()
    (tmp_path / "prompts.txt").write_text("a dog in the forest\n")
    with pytest.raises(LitmusError, match=r"write \{\} once"):
        folder.photos(tmp_path, class_word="dog")


def test_a_style_folder(tmp_path, picture):
    picture(tmp_path / "0.png")
    task = load(f"folder:{tmp_path}?kind=style&identifier=ktn")
    assert task.prompts[1].text == "a dog on the beach in ktn style"
    assert task.prior[1].text == "a dog on the beach"


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("folder:{}/none?class_word=dog", "no folder"),
        ("folder:{}/empty?class_word=dog", "no pictures in"),
        ("folder:{}/one", "say what it shows"),
        ("folder:{}/one?class=dog", "unknown option of a folder task 'class': did you mean 'class_word'"),
        ("folder:{}/one?class_word=dog&kind=styl", "did you mean 'style'"),
        ("folder:{}/one?class_word=dog&identifier=a b", "must be one word"),
        ("folder:{}/one?class_word=dog&live=yes", "write live=true"),
        ("folder:{}/one?class_word=dog&resolution=big", "resolution=big"),
        ("folder:{}/one?dog", "unknown option of a folder task 'dog'"),
        ("folder:{}/task?class_word=dog", "leave out"),
        ("pocket/subject-toi", "unknown task 'pocket/subject-toi': did you mean 'pocket/subject-toy'"),
        ("nothing", "unknown task 'nothing'"),
        ("dreambooth/dog", "no DreamBooth copy"),
    ],
)
def test_wrong_names_are_one_clear_line(tmp_path, litmus_home, task_folder, picture, spec, line):
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "one" / "0.png")
    shutil.copytree(task_folder(), tmp_path / "task")
    shutil.copytree(tmp_path / "task", litmus_home / "datasets" / "pocket" / "subject-toy")
    with pytest.raises(LitmusError, match=line) as error:
        load(spec.format(tmp_path))
    assert "\n" not in str(error.value)


def test_tasks_are_listed_and_loaded_by_name(litmus_home, task_folder):
    assert list_tasks() == []
    for name in ("subject-b", "subject-a"):
        shutil.copytree(task_folder(), litmus_home / "datasets" / "pocket" / name)
    file = litmus_home / "datasets" / "pocket" / "subject-b" / "task.toml"
    file.write_text(file.read_text().replace('"tuning"', '"test"'))
    assert list_tasks() == ["pocket/subject-a", "pocket/subject-b"]
    assert list_tasks("test") == ["pocket/subject-b"]
    assert load("pocket/subject-a").name == "pocket/subject-a"
    with pytest.raises(LitmusError, match="unknown split"):
        list_tasks("tests")


def test_without_takes_the_word_and_nothing_else():
    assert without("a sks robot in sksville, sks.", "sks") == "a robot in sksville,"


# --- DreamBooth -----------------------------------------------------------------------------------------------------

PROMPTS_FILE = """Classes

subject_name,class
dog6,dog
bear_plushie,stuffed animal

Prompts

Object Prompts
"""


@pytest.fixture
def copy(tmp_path, picture, monkeypatch):
    """A small copy of google/dreambooth with a manifest that tells the truth."""
    root = tmp_path / "dreambooth"
    files = {}
    for name, n in (("dog6", 5), ("bear_plushie", 4)):
        for i in range(n):
            data = picture(root / name / f"{i:02}.jpg", seed=i).read_bytes()
            files[f"{name}/{i:02}.jpg"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (root / "prompts_and_classes.txt").write_text(PROMPTS_FILE)
    (root / "manifest.json").write_text(json.dumps({"files": files}))
    monkeypatch.setenv("LITMUS_DREAMBOOTH", str(root))
    return root


def test_a_dreambooth_subject(copy):
    task = load("dreambooth/dog6")
    assert (task.class_word, task.identifier, task.split) == ("dog", "sks", "test")
    assert (len(task.train), len(task.heldout)) == (4, 1)
    assert [p.text.replace("sks dog", "{}") for p in task.prompts] == list(words.LIVE_PROMPTS)
    bear = load("dreambooth/bear_plushie")
    assert [p.text.replace("sks stuffed animal", "{}") for p in bear.prompts] == list(words.OBJECT_PROMPTS)
    assert list_tasks() == ["dreambooth/bear_plushie", "dreambooth/dog6"]
    assert dreambooth.REDUCED not in task.notes


def test_the_manifest_is_held_against_the_copy(copy):
    file = copy / "dog6" / "03.jpg"
    kept = file.read_bytes()
    Image.open(file).resize((16, 16)).save(file)
    assert dreambooth.REDUCED in load("dreambooth/dog6").notes
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(LitmusError, match=r"03\.jpg was altered"):
        load("dreambooth/dog6")
    file.unlink()
    with pytest.raises(LitmusError, match=r"03\.jpg is missing"):
        load("dreambooth/dog6")
    file.write_bytes(kept)
    shutil.copy(file, file.with_name("99.jpg"))
    with pytest.raises(LitmusError, match=r"99\.jpg is not DreamBooth's"):
        load("dreambooth/dog6")
    (copy / "manifest.json").unlink()
    assert len(load("dreambooth/dog6").train) == 4


def test_an_unknown_subject_is_named(copy):
    with pytest.raises(LitmusError, match="unknown DreamBooth subject 'dog5': did you mean 'dog6'"):
        load("dreambooth/dog5")
    (copy / "prompts_and_classes.txt").write_text("nothing")
    with pytest.raises(LitmusError, match="lists no subjects"):
        load("dreambooth/dog6")


def test_prompt_counts_are_dreambooths():
    assert len(words.OBJECT_PROMPTS) == len(words.LIVE_PROMPTS) == 25
    assert words.OBJECT_PROMPTS[:10] == words.LIVE_PROMPTS[:10]
    assert words.OBJECT_PROMPTS[-5:] == words.LIVE_PROMPTS[-5:]


def test_rates_are_chosen_on_other_dreambooth_subjects_than_the_real_board_has(litmus_home):
    board, tuning = (set(load_protocol(name).tasks) for name in ("real", "real-tuning"))
    assert tuning == {f"dreambooth/{name}" for name in dreambooth.TUNING}
    assert not board & tuning


def test_a_licence_is_carried_and_is_no_part_of_the_task(task_folder):
    folder = task_folder()
    plain = load(f"folder:{folder}")
    file = folder / "task.toml"
    file.write_text('licence = "CC-BY-4.0"\n' + file.read_text(encoding="utf-8"), encoding="utf-8")
    told = load(f"folder:{folder}")
    assert (plain.licence, told.licence) == ("", "CC-BY-4.0")
    assert told.digest == plain.digest
    file.write_text(file.read_text(encoding="utf-8").replace('"CC-BY-4.0"', "4"), encoding="utf-8")
    with pytest.raises(LitmusError, match="licence is missing or not text"):
        load(f"folder:{folder}")
