"""What docs/adding-a-base.md shows is run here: its files are examined, and toy boards are made on them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.bases import BASES, find_source, load_base
from bench.bases.tiny import write
from bench.bases.toy_transformers import toy_transformer
from bench.core.errors import LitmusError
from bench.network.family import FAMILIES
from bench.network.sites import POSITIONS, sites
from bench.plugin.registry import load_file
from bench.records.record import read_board

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-base.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
FILES = {re.search(r'^    name = "(\w+)"', b, re.MULTILINE)[1]: b for b in BLOCKS if ".register" in b}  # type: ignore[index]
(TEST,) = [b for b in BLOCKS if ".register" not in b]


@pytest.fixture(autouse=True)
def _registries():
    """What a test registers is forgotten after it."""
    with BASES.kept(), FAMILIES.kept():
        yield


@pytest.fixture
def file(tmp_path):
    """A function: file("dots") -> the page's file, saved as the page says."""

    def save(name: str) -> Path:
        assert f"`{name}.py`" in TEXT, "the page says how to save it"
        (tmp_path / f"{name}.py").write_text(FILES[name], encoding="utf-8")
        return tmp_path / f"{name}.py"

    return save


@pytest.fixture
def board(litmus_home, task_folder, tmp_path, monkeypatch):
    """A function: board(base, file) -> (records, table) of one LoRA on a toy task, planned and run by the command."""
    from bench.__main__ import app

    shutil.copytree(task_folder("subject", "subject-a"), litmus_home / "datasets/toy/subject-a")

    def run(base: str, plugin: Path, scored: str = 'extractors = "toy"'):
        monkeypatch.setenv("LITMUS_PLUGINS", str(plugin))
        monkeypatch.setenv("LITMUS_DEVICE", "cpu")
        rules = tmp_path / "board.toml"
        rules.write_text(
            f'name = "docs"\nbase = "{base}"\n{scored}\ntasks = ["toy/subject-a"]\n'
            "train = { steps = 2, batch = 2 }\nsample = { steps = 1 }\n[[methods]]\nspec = 'lora'\n",
            encoding="utf-8",
        )
        done = CliRunner().invoke(app, ["bench", str(rules), "--results", str(tmp_path / "board"), "-j", "1"])
        assert done.exit_code == 0, done.output
        records, faults = read_board(tmp_path / "board")
        assert not faults
        return records, (tmp_path / "board" / "table.md").read_text(encoding="utf-8")

    return run


def test_the_page_has_the_files_that_are_run_here():
    assert list(FILES) == ["dots", "tide"]


@pytest.mark.parametrize("name", FILES)
def test_the_page_s_file_passes_its_examination(file, name):
    from bench.__main__ import app

    done = CliRunner().invoke(app, ["check-base", str(file(name))])
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.output
    assert f"litmus check-base {name}.py" in TEXT


def test_settings_of_a_base_are_part_of_its_name_and_digest(file):
    load_file(file("dots"))
    one, other = load_base("dots"), load_base("dots[seed=1]")
    assert (one.name, other.name) == ("dots", "dots[seed=1]")
    assert one.digest != other.digest
    assert load_base("dots", "bf16").compute == "bf16"
    with pytest.raises(LitmusError, match="unknown hyperparameter of dots 'sede': did you mean 'seed'"):
        find_source("dots[sede=1]")


def test_the_page_s_base_is_listed(file, monkeypatch):
    from bench.__main__ import app

    monkeypatch.setenv("LITMUS_PLUGINS", str(file("dots")))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["bases"])
    assert shown.exit_code == 0, shown.output
    (row,) = [line for line in shown.output.splitlines() if re.match(r"\W*dots\b", line)]
    assert "a small U-Net with random weights" in row
    one = CliRunner().invoke(app, ["bases", "dots[seed=1]"])
    assert "dots[seed=1]" in one.output
    assert "scored with" in one.output


@pytest.mark.slow
def test_a_board_on_the_page_s_base(board, file):
    """Planned, run in a worker and reported; scored by what the base declares."""
    records, table = board("dots", file("dots"), scored="")
    lora = next(r for r in records if r.run.method == "lora")
    assert (lora.status, lora.run.base, lora.run.extractors) == ("ok", "dots", "toy"), lora.error
    assert "dots" in table


@pytest.mark.slow
def test_a_board_on_a_folder_of_the_page_s_family(board, file, tmp_path):
    plugin = file("tide")
    load_file(plugin)
    folder = write("tide", tmp_path / "folder")
    records, table = board(f"{folder}?dtype=fp32&resolution=64", plugin)
    lora = next(r for r in records if r.run.method == "lora")
    assert lora.status == "ok", lora.error
    assert lora.run.base.startswith(str(folder))
    assert "folder" in table
    assert lora.cost.scalars_trainable == 2 * 4 * (4 * 2 * 16)  # two blocks, four layers of 16 x 16, rank 4


def test_the_page_s_family_has_sites_and_counts(file):
    load_file(file("tide"))
    from bench.listings.params import rows

    net = toy_transformer("tide")
    assert len(sites(net, "attn")) == 8
    assert [*sites(net, "ff.up")] == ["denoiser.blocks.0.grow", "denoiser.blocks.1.grow"]
    assert {p for p in POSITIONS if sites(net, p, optional=True)} == {
        "attn2i", "attn2o", "attn2c", "ffni", "ffno", "transo",
    }  # fmt: skip
    (row,) = rows(["lora[rank=4]"], ["tide-1"])
    # q and out: 512 x 512, k and v: 512 x 16
    assert row.scalars == 12 * 4 * (2 * (512 + 512) + 2 * (512 + 16))


def test_the_page_s_test_runs(file):
    load_file(file("tide"))
    space: dict = {}
    exec(TEST, space)
    space["test_lora_on_tide"]()


def test_a_second_family_may_not_say_otherwise(file):
    from dataclasses import dataclass

    from bench.network.family import Family

    load_file(file("tide"))
    with pytest.raises(LitmusError, match="gives TideBlock other roles than"):

        @FAMILIES.register
        @dataclass(frozen=True)
        class Ebb(Family):
            name = "ebb"
            title = "Ebb"
            roles = {"TideBlock": {"ff.up": ("shrink",)}}

    with pytest.raises(LitmusError, match="TidePipeline is a pipeline of"):

        @FAMILIES.register
        @dataclass(frozen=True)
        class Flood(Family):
            name = "flood"
            title = "Flood"
            pipelines = ("TidePipeline",)
