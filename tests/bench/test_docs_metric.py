"""What docs/adding-a-metric.md shows is run here: its file is examined, its package is found, its board runs."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.checks import metrics as checks
from bench.metrics import METRICS, Features, Metric
from bench.records.record import read_board

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "adding-a-metric.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
ENTRY, PROTOCOL = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
TOML = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1]


@pytest.fixture(autouse=True)
def _registry():
    """What a test registers is forgotten after it."""
    METRICS.load()
    with METRICS.kept():
        yield


@pytest.fixture
def file(tmp_path):
    """The metric of the page, saved under the name that the page gives it."""
    assert "`precision.py`:" in TEXT
    path = tmp_path / "precision.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def litmus(*words: object, **env: str) -> str:
    """The output of a command in a process of its own."""
    place = os.pathsep.join(filter(None, [env.pop("PYTHONPATH", ""), str(ROOT)]))
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": place, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_s_metric_passes_the_examination(file):
    assert [(r.name, r.message) for r in checks.check_file(file) if not r.ok] == []


def test_the_page_s_metric_passes_on_the_command_line(file):
    shown = litmus("check-metric", file)
    assert len(re.findall(r"^ok +precision ", shown, re.MULTILINE)) == len(checks.ALL)


def test_the_page_s_failure_is_what_is_said(file):
    file.write_text(CODE.replace("higher_is_better = True", "higher_is_better = False"), encoding="utf-8")
    (bad,) = [r for r in checks.check_file(file) if not r.ok]
    assert " ".join(("FAILED", bad.method, bad.name.replace("_", " "), bad.message)) in re.sub(" +", " ", TEXT)


def test_every_check_and_every_field_stands_on_the_page():
    section = TEXT.partition("## Examine it")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([a-z ]+) \| (?!what)", section, re.MULTILINE) == [
        check.__name__.replace("_", " ") for check in checks.ALL
    ]
    card = TEXT.partition("## The card")[2].partition("\n## ")[0]
    said = set(re.findall(r"`(\w+)", card.replace(" = ", "` = ")))
    facts = {name for name in Metric.__annotations__ if name not in ("sees", "presets")}
    assert facts <= said
    for name in Features.__dataclass_fields__:
        assert f"`{name}`" in TEXT, name


def test_a_package_s_metric_is_found_by_its_entry_point(file, tmp_path):
    """As pip would have installed it, from the lines of the page."""
    info = tmp_path / "precision-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: precision\nVersion: 0.1\n", encoding="utf-8")
    ((group, entries),) = ENTRY["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {where}" for name, where in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shown = litmus("metrics", "precision", PYTHONPATH=str(tmp_path))
    assert "arXiv:1904.06991" in shown
    assert re.search(r"^file +.*precision\.py *$", shown, re.MULTILINE)


@pytest.mark.slow
def test_the_page_s_board_has_all_three_in_records_and_table(file, toy_protocol, tmp_path):
    """On the toy base; a second call finds nothing to run, and neither does a protocol that asks for one more."""
    toy_protocol()
    text = TOML.replace('base = "pocket"', 'base = "toy"\nextractors = "toy"').replace(
        "pocket/subject-mug", "toy/subject-a"
    )
    text = text.replace("[[methods]]", "[train]\nsteps = 2\nbatch = 2\n[sample]\nsteps = 2\n\n[[methods]]")
    path = tmp_path / "my-board.toml"
    path.write_text(text, encoding="utf-8")
    board = tmp_path / "board"
    words = ("bench", path, "--results", board, "-j", "1")
    litmus(*words, LITMUS_PLUGINS=str(file), COLUMNS="200")
    records, faults = read_board(board)
    assert not faults
    asked = set(PROTOCOL["metrics"])
    (mine,) = [r for r in records if r.run.method == "lora"]
    assert mine.status == "ok", mine.error
    assert asked | {"precision"} <= mine.scores.keys(), mine.notes
    assert set(mine.run.metrics) == asked
    prompts = (board / "runs" / mine.files["prompts"]).read_text(encoding="utf-8")
    assert '"torchmetrics.StructuralSimilarityIndexMeasure": [' in prompts
    table = (board / "table.md").read_text(encoding="utf-8")
    (head,) = [line for line in table.splitlines() if line.startswith("| method | identity")]
    for title in ("precision", "precision [k=1]", "SSIM", "FID [feature=image] ↓"):
        assert f" {title} |" in head
    with (board / "table.csv").open(encoding="utf-8", newline="") as lines:
        assert asked <= set(next(csv.reader(lines)))
    when = {p: p.stat().st_mtime_ns for p in (board / "runs").iterdir()}
    path.write_text(text.replace("metrics = [", 'metrics = [\n    "torchmetrics.TotalVariation",'), encoding="utf-8")
    litmus(*words, LITMUS_PLUGINS=str(file))
    assert {p: p.stat().st_mtime_ns for p in (board / "runs").iterdir()} == when


def test_a_misspelt_metric_is_refused_at_the_plan(toy_protocol):
    path = toy_protocol(("seeds = [0]", 'seeds = [0]\nmetrics = ["torchmetrics.StructuralSimilarity", "kidd"]'))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "plan", str(path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode
    assert "did you mean 'torchmetrics.StructuralSimilarityIndexMeasure'?" in done.stderr
