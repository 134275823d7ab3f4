"""Features beside records: what is written is read, within what float16 keeps, or is refused by one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from bench.core.errors import LitmusError
from bench.core.files import DiskError
from bench.metrics import Features, Views, measure
from bench.records import features


@pytest.mark.parametrize(("kind", "heldout"), [("subject", 2), ("style", 0)])
def test_what_is_written_is_read(kind, heldout, cell, tmp_path):
    found = cell(kind, heldout)
    name = features.write("k", found, tmp_path)
    assert name == "k.features.safetensors"
    back = features.read(tmp_path / name, "k")
    for f in fields(Features):
        was, now = getattr(found, f.name), getattr(back, f.name)
        if isinstance(was, Views):
            for view in features.VIEWS:
                np.testing.assert_allclose(getattr(now, view), getattr(was, view), atol=5e-4)
                assert getattr(now, view).dtype == np.float64
            assert {k: v.tolist() for k, v in now.seen.items()} == {k: v.tolist() for k, v in was.seen.items()}
        elif f.name == "texts":
            np.testing.assert_allclose(now, was, atol=5e-4)
        else:
            assert now == was, f.name
    scores, before = measure(back)[0], measure(found)[0]
    assert scores.keys() == before.keys()
    assert max(abs(scores[name] - before[name]) for name in scores) < 1e-3
    assert scores["loss_train"] == found.loss_train


def test_the_frozen_base_is_still_no_distance_from_itself(cell, tmp_path):
    found = replace(cell(), drift=cell().prior, base_drift=cell().prior)
    back = features.read(tmp_path / features.write("k", found, tmp_path))
    assert measure(back)[0]["drift"] == pytest.approx(0, abs=1e-12)


def test_reading_needs_no_torch(cell, tmp_path):
    features.write("k", cell(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from bench.records.features import read; "
        "from bench.metrics import measure; assert measure(read(Path(sys.argv[1])))[0]; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "k.features.safetensors")], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda b: b[: len(b) // 2], "is not a file of features"),
        (lambda b: b"", "is not a file of features"),
        (lambda b: b.replace(b'format\\": 1', b'format\\": 9'), "update litmus"),
        (lambda b: b.replace(b'key\\": \\"k', b'key\\": \\"x'), "of another run"),
        (lambda b: b.replace(b"cell.style", b"cell.stale"), "is not a file of features"),
    ],
)
def test_a_file_that_says_nothing_is_named(cell, tmp_path, spoil, word):
    file = tmp_path / features.write("k", cell(), tmp_path)
    before = file.read_bytes()
    file.write_bytes(spoil(before))
    assert file.read_bytes() != before
    with pytest.raises(LitmusError, match=word) as caught:
        features.read(file, "k")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_nothing(cell, tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="no space left"):
        features.write("k", cell(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_how_much_there_is(cell, tmp_path):
    assert features.told(tmp_path) == "no features"
    features.write("k", cell(), tmp_path / "runs")
    (tmp_path / "runs" / ".x.features.safetensors.1.part").write_text("")
    assert features.told(tmp_path).startswith("features of 1 run, ")
    features.write("l", cell(), tmp_path / "runs")
    assert features.told(tmp_path).startswith("features of 2 runs, ")
