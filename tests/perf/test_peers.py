"""The parts of peers.py that measure nothing; in the default run, since nothing is timed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers", Path(__file__).with_name("peers.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(tmp_path) -> Path:
    file = tmp_path / "train_dreambooth_lora.py"
    file.write_text("")
    return file


def test_a_wrong_option_is_one_line(peers, script, tmp_path, capsys):
    assert peers._options([f"--script={script}", "--steps=2"]).steps == 2
    for words, line in (
        ([], "--script"),
        ([f"--script={tmp_path / 'none.py'}"], "fetch examples/dreambooth/train_dreambooth_lora.py"),
        ([f"--script={script}", "--steps=1"], "steps at least 2"),
        ([f"--script={script}", "--pairs=0"], "are at least 1"),
        ([f"--script={script}", "--threads=2", "--workers=3"], "cannot be shared equally"),
        ([f"--script={script}", "--side=mine"], "invalid choice"),
    ):
        with pytest.raises(SystemExit):
            peers._options(words)
        assert line in capsys.readouterr().err


def test_ratios_are_summed_up_by_their_geometric_mean(peers):
    lines = peers.summary({"step": [2.0, 8.0], "suite": [3.0]})
    assert lines[1:] == ["  step   4.00 (2.00 to 8.00)", "  suite  3.00 (3.00 to 3.00)"]


def test_a_suite_is_all_their_rounds_and_our_last(peers):
    names = ["a", "b", "c"]
    assert peers.rounds("theirs", names) == [[["a"]], [["b"]], [["c"]]]
    assert peers.rounds("ours", names) == [[["a"]], [names]]
    assert peers.rounds("ours", names, workers=2) == [[["a"]], [["a", "c"], ["b"]]]
    assert peers.rounds("ours", ["a"], workers=2) == [[["a"]]]
    assert peers.times([5.0, 6.0, 7.0], [1.0, 9.0, 2.0], "theirs") == {"step": 2.0, "one": 5.0, "suite": 18.0}
    assert peers.times([5.0, 8.0], [1.0, 2.0], "ours") == {"step": 1.5, "one": 5.0, "suite": 8.0}
    assert peers.times([5.0], [1.0], "ours")["suite"] == 5.0


def test_what_times_leave_out_is_said(peers):
    assert "no side draws or scores a picture, and ours writes no record" in peers.__doc__


def test_every_batch_of_theirs_is_whole(peers):
    for pictures, batch in ((5, 4), (4, 4), (6, 4), (5, 1), (3, 8)):
        times = peers.copies(pictures, batch)
        assert (pictures * times) % batch == 0
        assert times <= batch
