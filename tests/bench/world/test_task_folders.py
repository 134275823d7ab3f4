"""The world's tasks as folders: written the same from a seed, loadable, and the committed ones untouched."""

import hashlib

import pytest

from bench.core.paths import datasets
from bench.tasks import folder
from bench.world.styles import HELD_OUT
from bench.world.subjects import SUBJECTS
from bench.world.tasks import write_style, write_subject

POCKET = datasets() / "pocket"
needs_pocket = pytest.mark.skipif(not POCKET.is_dir(), reason="datasets/pocket is not here (not a clone)")


def contents(path):
    return {p.relative_to(path): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.draws
def test_a_subject_is_written_the_same_twice_and_loads(tmp_path):
    subject = SUBJECTS[9]
    for name in ("a", "b"):
        write_subject(subject, tmp_path / name, 0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    task = folder.load(tmp_path / "a" / subject.name).check()
    assert (len(task.train), len(task.heldout), len(task.prompts)) == (5, 4, 21)
    assert task.has_truth
    assert len(task.prior) == len(task.drift) == 8
    for p in task.prompts:
        assert "sks" in p.text.split()
        assert "sks" not in p.plain.split()
    assert task.truth_images[0].shape == (2, 3, 64, 64)


@pytest.mark.draws
def test_a_style_is_written_and_loads(tmp_path):
    held = HELD_OUT["watercolour"]
    write_style(held.name, held.fn, held.split, tmp_path, 0)
    task = folder.load(tmp_path / "style-watercolour").check()
    assert task.kind == "style"
    assert (len(task.train), len(task.heldout), len(task.prompts)) == (6, 4, 16)
    trained = {p.plain for p in task.train}
    assert not trained & {p.plain for p in task.prompts}


@needs_pocket
def test_the_committed_tasks_are_complete_and_match_their_checksums():
    lines = (POCKET / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    there = {p.relative_to(POCKET).as_posix() for p in POCKET.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert there == set(listed)
    wrong = [f for f, digest in listed.items() if hashlib.sha256((POCKET / f).read_bytes()).hexdigest() != digest]
    assert wrong == []
    names = {p.parent.name for p in POCKET.glob("*/task.toml")}
    assert names == {s.name for s in SUBJECTS} | {f"style-{h}" for h in HELD_OUT}
