"""What docs/adding-an-objective.md shows is run here: examined, listed, on a board, in its records and its table."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.checks import objectives as checks
from bench.objectives import OBJECTIVES
from bench.records.record import read_board

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-objective.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NAME = re.compile(r'^    name = "(\w+)"', re.MULTILINE)
SHOWN = {NAME.search(block)[1]: block for block in BLOCKS if "@register" in block}  # type: ignore[index]
TESTS = [block for block in BLOCKS if "@register" not in block]


@pytest.fixture(autouse=True)
def _registry():
    with OBJECTIVES.kept():
        yield


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """The objectives of the page, saved under the names that the page gives them."""
    out = {}
    for name, block in SHOWN.items():
        out[name] = tmp_path / f"{name}.py"
        assert re.search(rf"Save this\s+as\s+`{name}\.py`:", TEXT)
        out[name].write_text(block, encoding="utf-8")
    return out


def test_the_page_has_the_blocks_that_this_file_runs():
    assert list(SHOWN) == ["huber", "lwf"]
    assert len(TESTS) == 1


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_s_objective_passes_the_examination(files, name):
    results = checks.check_file(files[name])
    assert [(r.name, r.message) for r in results if not r.ok] == []
    assert [r.name for r in results] == [check.__name__ for check in checks.ALL]


def test_the_page_s_test_passes(files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    space: dict = {}
    exec(TESTS[0], space)
    space["test_the_objective_passes_the_examination"]()
    sys.modules.pop("huber", None)
    importlib.invalidate_caches()


def litmus(*words: object, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        capture_output=True, text=True, timeout=900, env={**os.environ, **env, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed_and_a_board_shows_it(files, toy_protocol, tmp_path):
    plugins = os.pathsep.join(map(str, files.values()))
    listed = litmus("objectives", LITMUS_PLUGINS=plugins)
    assert re.search(r"^lwf .*1 class picture, frozen base", listed, re.MULTILINE)
    assert re.search(r"^delta +0\.5", litmus("objectives", "huber", LITMUS_PLUGINS=plugins), re.MULTILINE)
    lines = re.search(r"```toml\n(objective = .*?)```", TEXT, re.DOTALL)
    assert lines
    top, _, rest = lines[1].partition("\n\n")
    path = toy_protocol(
        ('name = "toy"', f'name = "toy"\n{top}'), ('[[methods]]\nspec = "lora"\n[[methods]]\nspec = "bias"\n', rest)
    )
    board = tmp_path / "board"
    litmus("bench", path, "--results", board, "-j", "1", LITMUS_PLUGINS=plugins)
    records, faults = read_board(board)
    assert not faults
    trained = {(r.run.spec, r.run.objective, r.run.task): r for r in records if r.run.train}
    assert {key[:2] for key in trained} == {("lora", "huber"), ("lora", "lwf[weight=0.5]")}
    assert {r.status for r in records} == {"ok"}
    assert all(r.run.objective_source for r in trained.values())
    one, two = (trained["lora", name, "toy/subject-a"] for name in ("huber", "lwf[weight=0.5]"))
    assert one.curve.running != two.curve.running
    assert (two.cost.bytes_peak or 0) > 1.5 * (one.cost.bytes_peak or 0), "the frozen base lies beside the other"
    table = (board / "table.md").read_text(encoding="utf-8")
    assert "lora + huber" in table
    assert "lora + lwf[weight=0.5]" in table
    # The file is part of what a record stands for: changed, its runs are missing.
    assert "0 to run" in subprocess_plan(path, board, plugins)
    files["lwf"].write_text(SHOWN["lwf"] + "\n# another version\n", encoding="utf-8")
    assert "2 to run" in subprocess_plan(path, board, plugins)


def subprocess_plan(path: Path, board: Path, plugins: str) -> str:
    command = [sys.executable, "-m", "bench", "plan", str(path), "--results", str(board)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LITMUS_PLUGINS": plugins})
    assert done.returncode == 0, done.stderr
    return done.stderr
