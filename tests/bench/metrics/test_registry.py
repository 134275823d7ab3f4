"""The registry of metrics: one file each, cards that tables read, families, settings, files from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.checks.metrics import cell
from bench.core.errors import LitmusError
from bench.metrics import METRICS, known, listed, measure, metric, of
from bench.metrics.base import RESERVED


def test_one_file_one_metric():
    own = METRICS.own()
    assert len(own) == 23
    assert all(cls.__module__ == f"bench.metrics.{name}" for name, cls in own.items())


def test_the_order_of_cards_is_that_of_records():
    names = [cls.name for cls in listed()]
    values, _ = measure(cell())
    assert list(values) == sorted(values, key=lambda n: names.index("attribute" if "attribute_" in n else n))
    orders = [cls.order for cls in METRICS.own().values()]
    assert len(set(orders)) == len(orders)


def test_names_choose_what_is_measured():
    f = cell()
    assert measure(f, ["kid", "drift"]) == ({k: measure(f)[0][k] for k in ("kid", "drift")}, measure(f, ["drift"])[1])
    assert list(measure(f, ["attribute_scene"])[0]) == ["attribute_scene"]
    assert list(measure(f, ["attribute"])[0]) == ["attribute_scene"]
    assert measure(f, [])[0] == {}
    assert measure(f, ["style"])[0] == {}, "a subject's cell has no style"
    with pytest.raises(LitmusError, match="did you mean 'drift'"):
        measure(f, ["drft"])
    with pytest.raises(LitmusError, match="computed from pictures"):
        measure(f, ["torchmetrics.TotalVariation"])


def test_settings_make_a_score_of_their_own():
    f = cell()
    values, _ = measure(f, ["kid_null[level=0.5]", "kid_null"])
    assert list(values) == ["kid_null[level=0.5]", "kid_null"]
    assert values["kid_null[level=0.5]"] < values["kid_null"]
    assert metric("kid_null[level=0.5]").heading == "KID by chance [level=0.5]"
    with pytest.raises(LitmusError, match="unknown hyperparameter of kid_null 'lvel': did you mean 'level'"):
        metric("kid_null[lvel=0.5]")


def test_a_head_has_an_arrow_where_less_is_better():
    heads = {cls.name: cls().heading for cls in listed()}
    assert (heads["kid"], heads["text"], heads["diversity"]) == ("KID ↓", "text", "diversity")
    assert metric("attribute_scene").heading == "attribute scene"
    assert all(heads[cls.name].endswith("↓") == (cls.higher_is_better is False) for cls in listed())


def test_what_is_no_metric_is_not_known():
    assert [known(x) for x in ("machine", "concept_norm", "attribute_", "torchmetrics.No", "kid[x=1]", "")] == [
        None
    ] * 6
    assert [x.spec for name in ("kid", "attribute_scene", "torchmetrics.TotalVariation") if (x := known(name))] == [
        "kid",
        "attribute_scene",
        "torchmetrics.TotalVariation",
    ]
    assert of(["kid", "torchmetrics.TotalVariation"], "pictures") == ["torchmetrics.TotalVariation"]


def test_names_that_a_metric_may_not_have_are_the_tables_own(monkeypatch):
    """The columns of a real tidy frame that are neither scores nor costs."""
    import json

    from bench.records.record import Cost, Record
    from bench.study.frame import tidy

    path = Path(__file__).resolve().parents[2] / "golden" / "records_v1.jsonl"
    records = [Record.model_validate(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    scores = {name for r in records for name in r.scores} | {"concept", "text", "text_mismatch"}
    assert set(tidy(records).frame.columns) - scores - set(Cost.model_fields) == RESERVED


def test_a_broken_metric_is_a_line_where_faults_are_gathered(metrics, outside_file):
    from bench.plugin.registry import load_file

    (cls,) = load_file(outside_file)
    text = outside_file.read_text(encoding="utf-8").replace("** self.power", "/ None").replace('"closest"', '"broken"')
    other = outside_file.with_name("broken.py")
    other.write_text(text, encoding="utf-8")
    load_file(other)
    faults: list[str] = []
    values, _ = measure(cell(), faults=faults)
    assert "closest" in values
    assert "broken" not in values
    assert len(values) > 15
    assert [line[:34] for line in faults] == ["broken was not computed: TypeError"]
    with pytest.raises(TypeError):
        measure(cell())
    assert cls.name == "closest"


def test_a_file_from_outside_is_measured_listed_and_shown(metrics, outside_file, monkeypatch):
    """By $LITMUS_PLUGINS alone: in what is measured, in `litmus metrics`, in the frame and in the second table."""
    import json

    from typer.testing import CliRunner

    from bench.__main__ import app
    from bench.records.record import Record
    from bench.report.table import more_sheet
    from bench.study.frame import tidy, worst_is_low
    from bench.study.leaderboard import boards

    monkeypatch.setenv("LITMUS_PLUGINS", str(outside_file))
    monkeypatch.setenv("COLUMNS", "200")
    values, per_prompt = measure(cell())
    assert values["closest"] == pytest.approx(np.mean([v or 0.0 for v in per_prompt["closest"]]))
    assert "closest[power=2]" in measure(cell(), ["closest[power=2]"])[0]
    shown = CliRunner().invoke(app, ["metrics"]).output
    (row,) = [line for line in shown.splitlines() if line.startswith("closest ")]
    assert "lower" in row
    assert worst_is_low("closest") is False
    path = Path(__file__).resolve().parents[2] / "golden" / "records_v1.jsonl"
    records = [Record.model_validate(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    for i, r in enumerate(records):
        if r.ok:
            r.scores |= {"closest": i / 100, "closest[power=2]": (i / 100) ** 2, "torchmetrics.TotalVariation": 3.0}
    frame = tidy(records).frame
    failed = frame[frame["failed"]].iloc[0]
    rivals = frame[(frame["task"] == failed["task"]) & ~frame["failed"] & (frame["trained"] | (frame["row"] == "base"))]
    assert failed["closest"] == rivals["closest"].max(), "a failed run has its block's worst"
    heads = [h.title for h in more_sheet(boards(frame)[0]).heads]
    at = heads.index("P(better than lora)")
    assert heads[at - 4 : at] == ["KID ↓", "closest ↓", "closest [power=2] ↓", "total variation ↓"]


def test_importing_and_listing_load_no_torch():
    code = (
        "import sys; from bench.metrics import listed, metric; listed(); metric('torchmetrics.TotalVariation');"
        "sys.exit(' '.join(n for n in ('torch', 'torchmetrics', 'pandas', 'scipy') if n in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
