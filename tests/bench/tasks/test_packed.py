"""The packed tasks: unpacked once, whole or not at all, and never over what is somebody's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile

import pytest

from bench import tasks
from bench.core.errors import LitmusError
from bench.tasks import packed


@pytest.fixture
def home(litmus_home):
    litmus_home.mkdir()
    return litmus_home


@pytest.fixture
def pack(tmp_path, monkeypatch, task_folder):
    """A function: pack(text) puts an archive of one task and a file saying `text` in place of the wheel's."""

    def write(text: str = "one", damaged: bool = False, more: str = "") -> None:
        folder = task_folder(name="subject-toy")
        files = {f"subject-toy/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*.*")}
        files["README.md"] = text.encode()
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
        path = tmp_path / "pocket.zip"
        with zipfile.ZipFile(path, "w") as out:
            for name, data in files.items():
                out.writestr(name, b"?" if damaged and name == "README.md" else data)
            out.writestr(packed.SUMS, sums)
            if more:
                out.writestr(more, "more")
        monkeypatch.setattr(packed, "ARCHIVE", path)

    return write


def readme(home):
    return (home / "datasets/pocket/README.md").read_text()


def test_they_are_listed_and_loaded_without_a_clone(home, pack):
    assert "pocket/subject-toy" not in tasks.list_tasks()
    pack()
    assert "pocket/subject-toy" in tasks.list_tasks()
    assert len(tasks.load("pocket/subject-toy").train) == 3
    assert sorted(p.name for p in (home / "datasets").iterdir()) == [".unpack", "pocket"]
    assert [p.name for p in (home / "datasets/.unpack").iterdir()] == ["lock"]


def test_they_are_unpacked_once_and_anew_for_another_release(home, pack):
    pack()
    packed.ensure_tasks()
    before = (home / "datasets/pocket").stat().st_ino
    packed.ensure_tasks()
    assert (home / "datasets/pocket").stat().st_ino == before
    pack("two")
    packed.ensure_tasks()
    assert readme(home) == "two"
    assert [p.name for p in (home / "datasets/.unpack").iterdir()] == ["lock"]


def test_a_folder_of_somebody_s_own_is_left_alone(home, pack):
    own = home / "datasets/pocket"
    own.mkdir(parents=True)
    (own / "README.md").write_text("mine")
    pack()
    packed.ensure_tasks()
    assert readme(home) == "mine"
    assert "pocket/subject-toy" not in tasks.list_tasks()


@pytest.mark.parametrize(
    ("damage", "said"), [({"damaged": True}, "README.md in .* is damaged"), ({"more": "extra"}, "does not hold")]
)
def test_a_damaged_archive_leaves_nothing(home, pack, damage, said):
    pack(**damage)
    with pytest.raises(LitmusError, match=said):
        packed.ensure_tasks()
    assert not (home / "datasets/pocket").exists()


def test_what_a_killed_process_left_is_cleared(home, pack):
    left = home / "datasets/.unpack/new/subject-gone"
    left.mkdir(parents=True)
    pack()
    packed.ensure_tasks()
    assert readme(home) == "one"
    assert not (home / "datasets/pocket/subject-gone").exists()


def test_processes_at_the_same_time_all_find_them_whole(home, pack):
    pack()
    code = (
        "import sys, pathlib; from bench.tasks import packed; packed.ARCHIVE = pathlib.Path(sys.argv[1]); "
        "sys.stdin.readline(); packed.ensure_tasks(); "
        "from bench import tasks; assert len(tasks.load('pocket/subject-toy').train) == 3"
    )
    command = [sys.executable, "-c", code, str(packed.ARCHIVE)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = []
    for process in started:  # all stand at the line before the first goes on
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        said.append(process.communicate(timeout=120)[1])
    assert said == [""] * 3


def test_a_folder_that_cannot_be_written_is_one_line(home, pack):
    (home / "datasets").write_text("a file")
    pack()
    with pytest.raises(LitmusError, match="cannot be unpacked into .*LITMUS_HOME"):
        packed.ensure_tasks()


def test_a_home_that_does_not_exist_is_not_made(litmus_home, pack):
    pack()
    packed.ensure_tasks()
    assert not litmus_home.exists()
