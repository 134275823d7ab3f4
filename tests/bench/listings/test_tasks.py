"""The table and the card of tasks: what is said, and that no picture is opened for it."""

from __future__ import annotations

import shutil

import pytest

from bench.core.errors import LitmusError
from bench.listings import tasks as listing


@pytest.fixture
def mine(litmus_home, task_folder):
    """datasets/mine with a subject and a style; pictures are emptied, so that to open one would fail."""
    for kind in ("subject", "style"):
        place = litmus_home / "datasets" / "mine" / kind
        shutil.copytree(task_folder(kind, name=kind), place)
        for file in place.rglob("*.png"):
            file.write_bytes(b"")
    return litmus_home / "datasets" / "mine"


def test_a_row_for_each_task(mine):
    header, rows = listing.table()
    assert header == ["task", "kind", "split", "class", "train", "held out", "truth", "licence"]
    assert rows == [
        ["mine/style", "style", "tuning", "", "3", "1", "yes", ""],
        ["mine/subject", "subject", "tuning", "robot", "3", "1", "yes", ""],
    ]
    assert listing.table("test")[1] == []


def test_what_cannot_be_read_says_why(mine):
    (mine / "style" / "task.toml").write_text("format = 9\n", encoding="utf-8")
    broken, whole = listing.table()[1]
    assert broken[:2] == ["mine/style", "?"]
    assert "this version reads format = 1" in broken[-1]
    assert whole[0] == "mine/subject"


def test_the_card_of_one(mine):
    rows = listing.card("mine/subject")
    card = dict(rows)
    assert card["source"].startswith("local: a folder with task.toml")
    assert card["pictures"] == "3 to train on, 1 held out, at 32 px by default"
    assert card["in"] == str(mine / "subject" / "train")
    assert card["prompts"] == "3 of the concept, 2 of its class, 2 of others"
    assert (card["truth"], card["licence"]) == ("6 pictures", "not stated")
    assert ["prompt", "a sks robot in the forest (class: robot, scene: forest)"] in rows
    with pytest.raises(LitmusError, match="did you mean 'mine/subject'"):
        listing.card("mine/subjct")


def test_a_licence_of_the_collection(mine, litmus_home):
    shutil.copytree(mine, litmus_home / "datasets" / "pocket")
    assert [row[-1] for row in listing.table()[1]] == ["", "", "Apache-2.0", "Apache-2.0"]


def test_every_source_is_listed_with_its_form():
    header, rows = listing.sources()
    assert header == ["written as", "what it is"]
    assert [row[0].partition(":")[0].partition("/")[0] for row in rows] == [
        "concepts", "customconcept101", "dreambooth", "folder", "hf", "pocket",
    ]  # fmt: skip
