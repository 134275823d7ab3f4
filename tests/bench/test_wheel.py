"""The built wheel in a bare folder, on a machine without a clone, a network or the libraries that skia needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.protocol.models import load_protocol
from bench.records.record import read_board

ROOT = Path(__file__).resolve().parents[2]
POCKET = ROOT / "datasets" / "pocket"
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
ALONE = ("--no-index", "--no-deps")
SLIM = 'raise ImportError("libEGL.so.1: cannot open shared object file")\n'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (POCKET / "SHA256SUMS").is_file(), reason="datasets/pocket is not here (not a clone)"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the files that git has, since a build leaves its own beside them; no tests, no results."""
    place = tmp_path_factory.mktemp("wheel") / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout: what would be built cannot be told from what lies about")
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if name.partition("/")[0] not in ("tests", "results", "docs") and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def wheel(source):
    folder = source.parent / "dist"
    python(*PIP, "wheel", *ALONE, "--no-build-isolation", "-w", folder, source)
    (file,) = folder.glob("*.whl")
    return file


def python(*words: object, **more) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=900, **more)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done


def names(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}


def test_the_tasks_travel_once_and_small(wheel):
    with zipfile.ZipFile(wheel) as file:
        sizes = {i.filename: i.compress_size for i in file.infolist()}
    data = {name: n for name, n in sizes.items() if not name.endswith((".py", ".safetensors"))}
    assert "bench/tasks/pocket.zip" in data
    assert sum(data.values()) < 25e6
    assert not [name for name in sizes if name.startswith(("datasets", "tests", "results", "setup"))]
    inside = wheel.parent / "pocket.zip"
    with zipfile.ZipFile(wheel) as file:
        inside.write_bytes(file.read("bench/tasks/pocket.zip"))
    with zipfile.ZipFile(inside) as file:
        assert set(file.namelist()) == names(POCKET)
        assert [n for n in file.namelist() if file.read(n) != (POCKET / n).read_bytes()] == []


def test_an_sdist_makes_the_same_wheel(source, wheel):
    """As an index would hand it on: nothing of the clone beside it."""
    build = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
    place = source.parent / "sdist"
    python("-W", "error", "-c", build.format("sdist"), place, cwd=source)
    (file,) = place.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(place, filter="data")
    (folder,) = (p for p in place.iterdir() if p.is_dir())
    python("-c", build.format("wheel"), place, cwd=folder)
    (again,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in two.infolist()}


@pytest.fixture(scope="module")
def litmus(wheel):
    """(A function: litmus("tasks") with the wheel alone, offline; the home that it is called in, empty at first)."""
    site, slim, home = (wheel.parent.parent / name for name in ("site", "slim", "home"))
    python(*PIP, "install", *ALONE, "--target", site, wheel)
    for folder in (slim, home):
        folder.mkdir()
    (slim / "skia.py").write_text(SLIM, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITMUS_", "HF_", "XDG_"))}
    env = kept | {
        "PYTHONPATH": os.pathsep.join([str(slim), str(site)]),
        "PYTHONSAFEPATH": "1",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        "https_proxy": "http://127.0.0.1:9",  # nobody listens there
        "http_proxy": "http://127.0.0.1:9",
    }

    def run(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bench", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=home, env=env)
        assert not check or done.returncode == 0, (done.stdout, done.stderr)
        return done

    (where,) = python("-c", "import bench; print(bench.__path__[0])", env=env, cwd=home).stdout.split()
    assert Path(where) == site / "bench"
    return run, home


def test_tasks_quick_s_plan_and_the_smoke_protocol(litmus):
    """From the protocol's name to table.md, and again: nothing is left to run."""
    run, home = litmus
    listed = run("tasks").stdout
    for file in POCKET.glob("*/task.toml"):
        assert f"pocket/{file.parent.name}" in listed
    unpacked = home / "cache" / "litmus" / "datasets" / "pocket"
    assert names(unpacked) - {".unpacked"} == names(POCKET)
    stamp = (unpacked / "SHA256SUMS").stat().st_ino
    assert "lora" in run("plan", "quick").stdout
    assert (unpacked / "SHA256SUMS").stat().st_ino == stamp, "it is unpacked once"

    board = home / "smoke"
    said = run("bench", "smoke", "--results", board).stderr
    assert "smoke: 10 runs: 10 ok" in said
    assert "lora" in (board / "table.md").read_text(encoding="utf-8")
    records, faults = read_board(board)
    assert not faults
    assert {r.run.task for r in records} == set(load_protocol("smoke").tasks)
    assert "0 to run" in run("bench", "smoke", "--results", board).stderr


def test_drawing_the_world_says_what_is_lacking(litmus):
    run, home = litmus
    for words in (("world", "show"), ("world", "tasks", "--out", home / "tasks")):
        done = run(*words, check=False)
        assert done.returncode
        assert "Traceback" not in done.stderr
        assert "apt-get install libegl1 libgl1" in done.stderr
        assert "libEGL.so.1" in done.stderr
