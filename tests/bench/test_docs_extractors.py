"""What docs/encoders.md shows of one's own extractors is run here: examined, listed, and a board scored by them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.extractors import EXTRACTORS, extractors_source, load_extractors
from bench.plugin.registry import load_file
from bench.records.record import read_board

TEXT = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")
SUITE, OWN = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(autouse=True)
def _registry():
    with EXTRACTORS.kept():
        yield


@pytest.fixture
def file(tmp_path):
    assert "This is `thumbs.py`" in TEXT
    (tmp_path / "thumbs.py").write_text(OWN, encoding="utf-8")
    return tmp_path / "thumbs.py"


def litmus(*words: str):
    from bench.__main__ import app

    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_it_passes_its_examination(file):
    from bench.checks.extractors import ALL

    shown = litmus("check-extractors", str(file))
    assert len(re.findall(r"^ok ", shown, re.MULTILINE)) == len(ALL)
    assert "litmus check-extractors thumbs.py" in TEXT


def test_its_settings_are_part_of_name_and_digest(file):
    load_file(file)
    one, other = load_extractors("thumbs"), load_extractors("thumbs[side=4]")
    assert (one.name, other.name) == ("thumbs", "thumbs[side=4]")
    assert one.digest != other.digest


def test_the_suite_names_one_encoder_for_all(tmp_path):
    (tmp_path / "clip_only.py").write_text(SUITE, encoding="utf-8")
    load_file(tmp_path / "clip_only.py")
    assert set(extractors_source("clip-only").roles().values()) == {"openclip:ViT-L-14/openai"}


def test_a_board_is_scored_by_it(file, litmus_home, task_folder, tmp_path, monkeypatch):
    shutil.copytree(task_folder("subject", "subject-a"), litmus_home / "datasets/toy/subject-a")
    monkeypatch.setenv("LITMUS_PLUGINS", str(file))
    rules = tmp_path / "board.toml"
    rules.write_text(
        'name = "docs"\nbase = "toy"\nextractors = "thumbs[side=4]"\ntasks = ["toy/subject-a"]\n'
        "train = { steps = 2, batch = 2 }\nsample = { steps = 1 }\n[[methods]]\nspec = 'lora'\n",
        encoding="utf-8",
    )
    assert "thumbnails and colours" in " ".join(litmus("extractors").split())
    litmus("bench", str(rules), "--results", str(tmp_path / "board"), "-j", "1")
    records, faults = read_board(tmp_path / "board")
    assert not faults
    assert {r.run.extractors for r in records} == {"thumbs[side=4]"}
    assert all("identity" in r.scores for r in records if r.run.method != "truth")
