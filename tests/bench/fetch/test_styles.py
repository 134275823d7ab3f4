"""Style pictures by a list of addresses and checksums, and what the commands say."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.core.errors import LitmusError
from bench.core.paths import datasets
from bench.fetch import http, sources
from bench.tasks import list_tasks, load

HEAD = """
format = 1
name = "prints"
resolution = 32

[[style]]
name = "style-woodcut"
split = "test"
"""

PICTURE = """
[[style.picture]]
url = "{url}{name}"
caption = "{caption}"
licence = "public domain"
title = "Rain \\u201cat\\u201d night"
author = "A. Printer"
year = 1857
"""


@pytest.fixture
def prints(server, tmp_path, picture) -> Path:
    """A list of three pictures on the server, each with its checksum."""
    server.root = tmp_path / "museum"
    lines = [HEAD]
    for i, name in enumerate(["rain%20at%20night.jpg", "bridge.png", "tree.png"]):
        data = picture(server.root / name.replace("%20", " "), seed=i).read_bytes()
        lines.append(PICTURE.format(url=server.url, name=name, caption=f"a scene {i} in sks style"))
        lines.append(f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nbytes = {len(data)}\n')
    lines.append("heldout = true\n")
    lines[-3] = lines[-3].replace("public domain", "CC0-1.0")
    file = tmp_path / "prints.toml"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def run(*words: str):
    return CliRunner().invoke(app, ["fetch", *map(str, words)])


def test_a_list_becomes_style_tasks(prints, server):
    done = run("styles", "--list", prints)
    assert done.exit_code == 0, done.output
    assert "3 files received, 3 verified" in done.output
    assert "prints/style-woodcut" in done.output
    assert list_tasks("test") == ["prints/style-woodcut"]
    task = load("prints/style-woodcut")
    assert (task.kind, task.split, task.resolution) == ("style", "test", 32)
    assert [p.file.name for p in task.train] == ["rain-at-night.jpg", "bridge.png"]
    assert [p.caption for p in task.heldout] == ["a scene 2 in sks style"]
    assert (len(task.prompts), len(task.prior), len(task.drift)) == (10, 8, 8)
    assert task.prompts[0].plain == "a cat in style"
    assert task.licence == "public domain, CC0-1.0"
    told = (datasets() / "prints" / "style-woodcut" / "SOURCES.md").read_text(encoding="utf-8")
    assert "`rain-at-night.jpg`: Rain “at” night, A. Printer, 1857; public domain; http" in told
    server.asked.clear()
    assert "nothing to receive, 3 verified" in run("styles", "--list", prints).output
    assert server.asked == []


def test_a_list_that_was_changed_changes_the_task(prints, server):
    run("styles", "--list", prints)
    prints.write_text(prints.read_text(encoding="utf-8").replace("a scene 0", "a street"), encoding="utf-8")
    server.asked.clear()
    assert run("styles", "--list", prints).exit_code == 0
    assert server.asked == []
    assert load("prints/style-woodcut").train[0].caption == "a street in sks style"


def test_one_picture_that_is_another_keeps_the_task_away(prints, server):
    server.faults["bridge.png"] = ["altered!"]
    done = run("styles", "--list", prints)
    assert isinstance(done.exception, LitmusError)
    assert "bridge.png gives another file than the list says" in str(done.exception)
    assert list_tasks() == []
    server.faults.clear()
    assert run("styles", "--list", prints).exit_code == 0
    assert list_tasks() == ["prints/style-woodcut"]


def test_checksums_are_written_once_and_then_held_to(prints, server):
    text = prints.read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.splitlines() if not line.startswith(("sha256", "bytes"))) + "\n"
    prints.write_text(f"# my list\n{bare}", encoding="utf-8")
    done = run("styles", "--list", prints)
    assert "has no sha256: litmus fetch styles --list" in str(done.exception)
    done = run("styles", "--list", prints, "--pin")
    assert done.exit_code == 0, done.output
    pinned = prints.read_text(encoding="utf-8")
    assert pinned.startswith("# my list\n")
    assert tomllib.loads(pinned) == tomllib.loads(text)
    (server.root / "tree.png").write_bytes((server.root / "bridge.png").read_bytes())
    (datasets() / "prints" / "style-woodcut" / "tree.png").unlink()
    assert isinstance(run("styles", "--list", prints, "--pin").exception, LitmusError)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("format = 1", "format = 2", "format: "),
        ('name = "prints"', 'name = "pocket"', "name = 'pocket' is taken"),
        ('name = "prints"', 'name = "../prints"', "name: string should match"),
        ("caption", "captoin", "unknown key 'captoin': did you mean 'caption'"),
        ("split", "spilt", "unknown key 'spilt': did you mean 'split'"),
        ('split = "test"', 'split = "tset"', "unknown split 'tset': did you mean 'test'"),
        ("in sks style", "in style", "rain-at-night.jpg: the caption lacks the identifier sks"),
        ("rain%20at%20night.jpg", "rain", "say file = 'name.jpg'"),
        ("tree.png", "bridge.png", "bridge.png is there twice"),
        ("http://", "ftp://", "url: string should match"),
        ('sha256 = "', 'sha256 = "x', "sha256: string should match"),
        ('licence = "public domain"', 'licence = ""', "licence: string should have at least 1 character"),
        ("format = 1", "format =", "is not TOML"),
    ],
)
def test_a_wrong_list_is_one_line(prints, old, new, line):
    text = prints.read_text(encoding="utf-8")
    assert old in text
    prints.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(LitmusError) as fault:
        sources.styles(prints)
    assert line in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_style_needs_something_to_train_on(prints):
    text = prints.read_text(encoding="utf-8")
    prints.write_text(
        text.replace("heldout = true", "").replace("licence", "heldout = true\nlicence"), encoding="utf-8"
    )
    with pytest.raises(LitmusError, match="holds every picture out"):
        sources.styles(prints)
    with pytest.raises(LitmusError, match="cannot read the list"):
        sources.styles(prints.with_name("nowhere.toml"))


# --- what the commands say ------------------------------------------------------------------------------------------


def test_dreambooth_by_command(original, tmp_path):
    done = run("dreambooth", "--only", "dog6, backpack")
    assert done.exit_code == 0, done.output
    assert "11 files received, 11 verified" in done.output
    assert "2 subjects: litmus tasks --split test" in done.output
    elsewhere = tmp_path / "elsewhere"
    done = run("dreambooth", "--source", original, "--to", elsewhere)
    assert f"note: set LITMUS_DREAMBOOTH={elsewhere}" in done.output
    assert (elsewhere / "dataset" / "dog6" / "00.jpg").is_file()


def test_progress_is_told_where_there_is_no_terminal(original, monkeypatch):
    from bench.commands import fetch as cli_fetch

    monkeypatch.setattr(cli_fetch, "EVERY", 0.0)
    done = run("dreambooth")
    lines = [line for line in done.output.splitlines() if "/11 files" in line]
    assert lines
    assert "11/11 files, about 0 s left" in lines[-1]
    assert "of 0 MB" in lines[0]


def test_help_teaches():
    shown = CliRunner().invoke(app, ["fetch", "dreambooth", "--help"], env={"COLUMNS": "200"}).output
    assert "litmus fetch dreambooth --only dog6,backpack" in shown
    shown = CliRunner().invoke(app, ["fetch", "--help"], env={"COLUMNS": "200"}).output
    assert "styles" in shown


def test_waiting_is_as_long_as_a_server_asks():
    assert [http._after(text) for text in ("3", "999", None, "soon")] == [
        3.0,
        http.LONGEST_WAIT,
        None,
        None,
    ]


def test_the_list_that_travels_along_is_whole():
    listed = sources.read_list(sources.PAINTINGS)
    assert {style.name: style.split for style in listed.style} == {
        "starry-night": "test", "scream": "test", "minotaur": "tuning", "hat": "tuning",
    }  # fmt: skip
    for style in listed.style:
        (picture,) = style.picture
        assert picture.licence == "public domain"
        assert picture.bytes
        assert int(picture.year) < 1929
        assert int(picture.author[-5:-1]) <= 1954, "the author died seventy years ago"
        assert "/07c4b8299f8fbdafec0c514fc820ff1d7ff62e46/" in picture.url, "a fixed commit"
        assert "in sks style" in picture.caption
    bundle, target = sources.styles(sources.PAINTINGS)
    assert target == datasets() / "paintings"
    assert len(bundle.items) == 4
    assert all(len(item.sha256) == 64 for item in bundle.items)


def test_it_is_what_is_fetched_without_a_word(monkeypatch):
    asked = []
    monkeypatch.setattr("bench.commands.fetch._get", lambda bundle, target: asked.append((bundle.name, target.name)))
    done = run("styles")
    assert done.exit_code == 0, done.output
    assert asked == [("paintings", "paintings")]
    assert "paintings/hat" in done.output
