"""What a new machine needs: the Makefile's environments with uv and without, and the lowest versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "pyproject.toml"
UV = """#!/bin/sh
echo "uv $*" >> "$CALLS"
if [ "$1" = venv ]; then
    for last; do :; done
    mkdir -p "$last/bin" && printf '#!/bin/sh\\n' > "$last/bin/python" && chmod +x "$last/bin/python"
fi
"""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@pytest.fixture
def machine(tmp_path):
    """A function: machine(uv, *words) -> the commands of `make *words` where uv is there or not, in a bare folder."""
    for name in ("Makefile", "pyproject.toml", "tests/lowest.py"):
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name)
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    for name in ("sh", "make", "touch", "mkdir", "chmod", "test"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)

    def run(uv: bool, *words: str) -> list[str]:
        if uv:
            (programs / "uv").write_text(UV, encoding="utf-8")
            (programs / "uv").chmod(0o755)
        env = {"PATH": str(programs), "CALLS": str(calls)}
        command = [str(programs / "make"), "SHELL=" + str(programs / "sh"), *words]
        done = subprocess.run(command, cwd=tmp_path / "clone", env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else done.stdout.splitlines()

    return run


def test_setup_takes_uv_where_it_is_there_and_once(machine):
    venv, install = machine(True, "setup", "PYTHON=python3.12")
    assert venv == "uv venv --seed --python python3.12 .venv", "with pip, which tests of packages use"
    assert install == "uv pip install --python .venv/bin/python --compile-bytecode -e .[dev]"
    assert machine(True, "setup") == [venv, install], "nothing is left to do"


def test_setup_takes_pip_where_uv_is_not(machine):
    said = machine(False, "-n", "setup")
    assert said == ["python3 -m venv .venv", ".venv/bin/pip install -e .[dev]", "touch .venv/.stamp"]


def test_the_lowest_versions_are_installed_apart_and_the_whole_suite_is_run_on_them(machine):
    with_pip = machine(False, "-n", "test-lowest")
    assert "python3 tests/lowest.py > .venv-lowest/constraints.txt" in with_pip
    assert ".venv-lowest/bin/pip install -c .venv-lowest/constraints.txt -e .[dev]" in with_pip
    assert with_pip[-1].startswith(".venv-lowest/bin/pytest ")
    (suite,) = (line for line in machine(False, "-n", "test", "-o", ".venv/.stamp") if "/pytest " in line)
    assert suite == with_pip[-1].replace(".venv-lowest", ".venv")
    _, install = machine(True, ".venv-lowest/.stamp")
    assert "--python .venv-lowest/bin/python " in install
    assert "--resolution lowest-direct -e .[dev]" in install


def test_pip_is_told_every_bound():
    done = subprocess.run([sys.executable, ROOT / "tests/lowest.py"], capture_output=True, text=True, check=True)
    about = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*about["dependencies"], *about["optional-dependencies"]["dev"]]
    told = [line.replace("==", ">=") for line in done.stdout.splitlines()]
    assert told == [line.replace("[image]", "") for line in asked]


def test_a_bound_that_is_none_is_told(tmp_path):
    file = tmp_path / "pyproject.toml"
    text = PROJECT.read_text(encoding="utf-8")
    file.write_text(text.replace('"numpy>=1.26"', '"numpy"'), encoding="utf-8")
    code = "import sys, pathlib; from lowest import lowest; lowest(pathlib.Path(sys.argv[1]))"
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, env=env)
    assert "numpy: say NAME>=VERSION" in done.stderr
