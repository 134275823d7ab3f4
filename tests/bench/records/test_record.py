"""Records: written whole or not at all, read with a clear word about what cannot be."""

from __future__ import annotations

import errno
import json
import math
import os

import pytest

from bench.core.errors import LitmusError
from bench.core.files import DiskError, write_bytes
from bench.records.record import SCHEMA, Record, files, finite, read, read_board, write
from bench.runner.plan import key


@pytest.fixture
def record(make_run) -> Record:
    run = make_run()
    return Record(key=key(run), run=run, status="ok", scores={"identity": 0.25, "kid": None})


def test_what_is_written_is_read(record, tmp_path):
    record.cost.bytes_peak = 123
    record.provenance.machine.cpu = "a fast one"
    path = write(record, tmp_path / "runs")
    assert path.name == f"{record.key}.json"
    assert read(path) == record


def test_not_a_number_is_null_on_disk(record, tmp_path):
    record.scores["identity"] = math.nan
    record.curve.running = [1.0, math.inf]
    back = read(write(record, tmp_path))
    assert back.scores["identity"] is None
    assert back.curve.running == [1.0, None]


def test_finite_goes_to_any_depth():
    assert finite({"a": [1.0, {"b": -math.inf}], "c": "nan"}) == {"a": [1.0, {"b": None}], "c": "nan"}


def test_a_board_is_its_records_without_the_side_files(record, tmp_path):
    runs = tmp_path / "runs"
    path = write(record, runs)
    (runs / f"{record.key}.prompts.json").write_text("{}")
    (runs / f".{record.key}.json.1.part").write_text("{")
    assert files(tmp_path) == [path]
    assert read_board(tmp_path) == ([record], [])


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda b: b.replace(b'"status"', b'"st\xfftus"'), "not a record"),
        (lambda b: b[: len(b) // 2], "not a record"),
        (lambda b: b"", "not a record"),
        (lambda b: b"[]", "not a record"),
        (lambda b: b.replace(b'"ok"', b'"well"'), "status"),
        (lambda b: json.dumps({k: v for k, v in json.loads(b).items() if k != "run"}).encode(), "run"),
        (lambda b: json.dumps(json.loads(b) | {"schema_version": SCHEMA + 1}).encode(), "update litmus"),
    ],
)
def test_a_spoilt_record_is_named_and_the_others_are_kept(record, tmp_path, spoil, word):
    good = write(record.model_copy(update={"key": "good"}), tmp_path / "runs")
    bad = write(record.model_copy(update={"key": "bad"}), tmp_path / "runs")
    bad.write_bytes(spoil(bad.read_bytes()))
    records, faults = read_board(tmp_path)
    assert [r.key for r in records] == [good.stem]
    (line,) = faults
    assert str(bad) in line
    assert word in line
    assert "\n" not in line


def test_a_failed_write_leaves_neither_half_nor_harm(record, tmp_path, monkeypatch):
    path = write(record, tmp_path)
    before = path.read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    record.scores["identity"] = 1.0
    with pytest.raises(DiskError, match="no space left on the device of"):
        write(record, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_takes_its_place_by_renaming(record, tmp_path):
    """A reader, or a runner that is killed, never meets half a record."""
    path = write(record, tmp_path)
    with open(path, "rb") as old:
        before = path.read_bytes()
        record.scores["identity"] = 1.0
        write(record, tmp_path)
        assert old.read() == before
    assert path.read_bytes() != before


def test_a_folder_that_cannot_be_one(record, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(LitmusError, match="cannot write in .*runs.*choose another folder"):
        write(record, tmp_path / "runs")


def test_a_full_device(small_disk):
    with pytest.raises(DiskError, match="no space left on the device of"):
        write_bytes(small_disk / "big", b"x" * 10**6)
    assert list(small_disk.iterdir()) == []
    write_bytes(small_disk / "little", b"x")
