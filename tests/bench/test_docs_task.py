"""What docs/adding-a-task.md shows is run here: the task folder; the source, on a board, in its records and table."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.checks.tasks import ALL, examine
from bench.core.errors import LitmusError
from bench.plugin.registry import load_file
from bench.records.record import read_board
from bench.tasks import SOURCES, list_tasks, load

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
TEXT = PAGE.read_text(encoding="utf-8")
(SOURCE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TOML = next(block for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if block.startswith("format"))


@pytest.fixture(autouse=True)
def _registry():
    SOURCES.load()
    with SOURCES.kept():
        yield


@pytest.fixture
def robot(litmus_home, picture) -> Path:
    """The task folder of the page, as the page says: in datasets/mine/robot."""
    folder = litmus_home / "datasets" / "mine" / "robot"
    folder.mkdir(parents=True)
    (folder / "task.toml").write_text(TOML, encoding="utf-8")
    files = re.findall(r'"(\w+/\d\.png)"', TOML)
    assert len(files) == 5
    for seed, file in enumerate(files):
        picture(folder / file, size=(64, 64), seed=seed)
    return folder


@pytest.fixture
def source(tmp_path) -> Path:
    file = tmp_path / "archives.py"
    assert f"Save this as `{file.name}`:" in TEXT
    file.write_text(SOURCE, encoding="utf-8")
    return file


@pytest.fixture
def archive(robot, litmus_home) -> Path:
    return Path(shutil.make_archive(str(litmus_home / "datasets" / "robot"), "zip", robot))


def faults(name: str) -> list[str]:
    results = examine(name)
    assert [r.name for r in results] == [check.__name__ for check in ALL]
    return [r.message for r in results if not r.ok]


def test_the_page_s_folder_is_a_sound_task(robot):
    assert list_tasks("test") == ["mine/robot"]
    assert faults("mine/robot") == []
    task = load("mine/robot")
    assert (task.licence, task.notes, task.has_truth) == ("CC0-1.0", ("drawn by hand",), True)
    assert task.train[0].plain == "a robot on the beach"


def test_the_page_s_source_gives_the_same_task(robot, source, archive):
    load_file(source)
    name = f"zip:{archive}"
    assert list_tasks() == ["mine/robot", name]
    assert list_tasks("tuning") == []
    assert load(name).digest == load("mine/robot").digest
    assert faults(name) == []
    with pytest.raises(LitmusError, match="cannot read the archive"):
        load("zip:nowhere.zip")
    with pytest.raises(LitmusError, match="unknown option of a task 'class_word'"):
        load(f"{name}?class_word=dog")


def test_a_source_outside_the_project_is_in_lists_protocols_records_and_tables(
    source, archive, toy_protocol, tmp_path, monkeypatch
):
    monkeypatch.setenv("LITMUS_PLUGINS", str(source))
    monkeypatch.setenv("COLUMNS", "200")

    def litmus(*words: object) -> str:
        done = subprocess.run([sys.executable, "-m", "bench", *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    name = f"zip:{archive}"
    listed = litmus("tasks")
    assert re.search(rf"^{re.escape(name)} +subject +test +robot +2 +1 +yes +CC0-1\.0", listed, re.MULTILINE)
    assert re.search(r"^zip:FILE +a task folder in a zip archive", listed, re.MULTILINE)
    assert re.search(r"^licence +CC0-1\.0", litmus("tasks", name), re.MULTILINE)
    assert litmus("check-task", name).count("ok ") == len(ALL)
    tasks = ('tasks = ["toy/subject-a", "toy/style-a"]', f'tasks = ["{name}"]')
    path = toy_protocol(tasks, ("steps = 3", "steps = 1"), ('[[methods]]\nspec = "bias"\n', ""))
    board = tmp_path / "board"
    litmus("bench", path, "--results", board, "-j", "1")
    records, problems = read_board(board)
    assert not problems
    assert {r.run.task for r in records} == {name}
    assert {r.run.method: r.status for r in records} == dict.fromkeys(("base", "truth", "truth_raw", "lora"), "ok")
    assert "drawn by hand" in records[0].notes
    assert re.search(r"\| lora ", (board / "table.md").read_text(encoding="utf-8"))
