"""What docs/adding-a-method.md shows is run here: its files pass the examination and appear in `litmus methods`."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from bench.checks import contract as checks
from bench.method import METHODS as REGISTRY

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
METHODS = {re.search(r'^    name = "(\w+)"', block, re.MULTILINE)[1]: block for block in BLOCKS if "@register" in block}  # type: ignore[index]
TESTS = [block for block in BLOCKS if "@register" not in block]


@pytest.fixture(autouse=True)
def _registry():
    """What a test registers is forgotten after it."""
    with patch.dict(REGISTRY):
        yield


@pytest.fixture(params=METHODS)
def file(request, tmp_path):
    """A method of the page, saved under the name that the page gives it."""
    path = tmp_path / f"{request.param}.py"
    assert f"`{path.name}`:" in TEXT, "the page says how to save it"
    path.write_text(METHODS[request.param], encoding="utf-8")
    return path


def test_the_page_has_the_blocks_that_this_file_runs():
    assert list(METHODS) == ["norms", "lora_xs", "adaptformer"]
    assert len(TESTS) == 1


def test_the_first_method_is_short():
    code = METHODS["norms"].partition("from dataclasses")[2].splitlines()
    assert len([line for line in code if line.strip()]) <= 25


def test_the_page_s_method_passes_the_examination(file):
    results = checks.check_file(file)
    assert [(r.name, r.message) for r in results if not r.ok] == []
    assert len(results) == len(checks.ALL) + len(checks.ELSEWHERE)


def test_the_page_s_method_is_listed(file, monkeypatch):
    from bench.__main__ import app

    monkeypatch.setenv("LITMUS_METHODS", str(file))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["methods"])
    assert shown.exit_code == 0, shown.output
    (row,) = [line for line in shown.output.splitlines() if re.match(rf"\W*{file.stem}\b", line)]
    assert "arXiv" in row


def test_the_page_s_test_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.declares_itself, checks.counts_by_formula))
    monkeypatch.setattr(checks, "ELSEWHERE", ())
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "norms.py").write_text(METHODS["norms"], encoding="utf-8")
    space: dict = {}
    try:
        exec(TESTS[0], space)
        space["test_norms"]()
    finally:
        sys.modules.pop("norms", None)


def test_the_page_s_method_passes_on_the_command_line(file):
    from bench.__main__ import app

    shown = CliRunner().invoke(app, ["check-method", str(file)])
    assert shown.exit_code == 0, shown.output
    lines = re.findall(rf"^(ok|skipped) +{file.stem} ", shown.output, re.MULTILINE)
    assert len(lines) == len(checks.ALL) + len(checks.ELSEWHERE)
    assert "needs_data = False" in shown.output, "a skipped check says why"


@pytest.mark.parametrize("name", ["lora_xs", "adaptformer"])
def test_an_author_patches_nothing(name):
    assert not re.search(r"__class__|__dict__|MethodType|\.forward *=", METHODS[name])


def test_the_names_that_the_page_promises_are_there():
    table = TEXT.partition("## What you may rely on")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(bench[\w.]*)` \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) == 5
    for module, names in rows:
        home = importlib.import_module(module)
        assert [name for name in re.findall(r"`(\w+)`", names) if not hasattr(home, name)] == []
    for module in ("bench.method.reparam", "bench.method.bypass"):
        home = importlib.import_module(module)
        mine = {
            name
            for name, thing in vars(home).items()
            if not name.startswith("_") and getattr(thing, "__module__", module) == module and name != "annotations"
        }
        public = {name for name in mine if not isinstance(vars(home)[name], type(re))}
        assert public == set(home.__all__)
        assert all(vars(home)[name].__doc__ for name in home.__all__)


def test_the_page_s_failure_is_what_one_sees(tmp_path, monkeypatch):
    """The line that the page quotes for a forgotten bias, word for word."""
    monkeypatch.setattr(checks, "ALL", (checks.counts_by_formula,))
    monkeypatch.setattr(checks, "ELSEWHERE", ())
    path = tmp_path / "norms.py"
    path.write_text(METHODS["norms"].replace("in norm.parameters()", "in [norm.weight]"), encoding="utf-8")
    (result,) = checks.check_file(path)
    quoted = re.search(r"^FAILED  norms  U-Net  counts by formula  (.*)$", TEXT, re.MULTILINE)
    assert quoted
    assert result.message == quoted[1]


def test_every_check_is_explained():
    for check in checks.ALL:
        assert f"| {check.__name__.replace('_', ' ')} |" in TEXT
