"""Which formats can hold a method's adapter is said before any base is loaded."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from bench.core.errors import LitmusError
from bench.interop import holds
from bench.method import make

ALL = {*holds.FORMATS, holds.MERGED}


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("lora", ALL),
        ("bias", ALL),  # a whole pipeline at least: what its numbers are decides about the rest
        ("adapter", set()),
        ("mosa", set()),
        ("textual_inversion", ALL - {"peft"}),
    ],
)
def test_formats(name, formats):
    assert set(holds.formats(make(name))) == formats
    assert bool(holds.note(make(name))) == (formats != ALL)


def test_a_tuner_of_peft_that_cannot_be_merged_fits_peft_s_folder_alone():
    found = [name for name in ("adalora", "velora", "vera") if holds.formats(make(name)) == ("peft",)]
    assert found == []

    class Beside(type(make("lora_ga"))):  # type: ignore[misc]
        mergeable = False

    assert holds.formats(Beside()) == ("peft",)
    assert "only peft's folders" in holds.note(Beside())


@pytest.fixture
def unloaded(monkeypatch):
    """Loading a base is an error."""

    def load(*args, **more):
        raise AssertionError("a base was loaded")

    monkeypatch.setattr("bench.bases.load_base", load)


@pytest.mark.parametrize("command", ["diffusers", "peft", "kohya", "merge"])
def test_export_and_merge_refuse_at_once(command, toy_base, trained, kept, tmp_path, unloaded):
    from bench.commands.export import export
    from bench.commands.merge import merge

    tuned, method = trained(toy_base, "adapter")
    file = kept(toy_base, tuned, method)
    act = merge if command == "merge" else partial(export, form=command)
    with pytest.raises(LitmusError, match="no file of diffusers, peft or kohya-ss can hold"):
        act(file, tmp_path / "out")


def test_a_file_of_another_tool_is_not_judged_by_a_method(tmp_path):
    import torch

    from bench.interop import files

    file = files.write(tmp_path / "x.safetensors", {"unet.a.lora.up.weight": torch.zeros(1)}, {})
    holds.refuse(file, "peft")


def test_run_save_says_it_when_it_plans(toy_protocol):
    from bench.protocol.models import load_protocol
    from bench.runner.resolve import ask

    path = toy_protocol(('spec = "bias"', 'spec = "adapter"'))
    assert not [line for line in ask(load_protocol(str(path))).notes if "hold" in line]
    (line,) = [line for line in ask(load_protocol(str(path)), save=True).notes if "hold" in line]
    assert line.startswith("adapter cannot be merged")


def test_merging_lets_no_library_talk(trained, kept, tmp_path, litmus_home):
    """In a process of its own, where nothing else has silenced them."""
    from bench.bases import load_base

    pocket = load_base("pocket")
    tuned, method = trained(pocket, "lora")
    file = kept(pocket, tuned, method)
    litmus_home.mkdir(exist_ok=True)  # of which a word is said where it is made
    done = subprocess.run(
        [sys.executable, "-m", "bench", "merge", str(file), "--out", str(tmp_path / "out")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["base: pocket"]
    assert done.stdout.splitlines() == [str(tmp_path / "out")]


def test_levels_of_the_libraries_are_put_back(trained, kept, tmp_path):
    import diffusers.utils.logging as logging

    from bench.interop.pipelines import quiet

    logging.set_verbosity_info()
    logging.enable_progress_bar()  # whatever ran before in this process
    try:
        with pytest.raises(ValueError, match="x"), quiet():
            raise ValueError("x")
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
