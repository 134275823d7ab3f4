"""A new or mended metric: computed from features, written into the records, shown by tables; nothing runs again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.core.errors import LitmusError
from bench.metrics import METRICS, Metric, measure, register
from bench.records import features
from bench.records.record import Record, finite, read, read_board, read_stored, write
from bench.records.rescore import rescore, versions
from bench.runner.launch import missing
from bench.runner.plan import key


@pytest.fixture
def board(make_run, cell, tmp_path):
    """A board of base, truth and two methods, scored from features that lie beside the records."""
    for name in ("base", "truth", "lora", "bias"):
        trained = name in ("lora", "bias")
        run = make_run(spec=name).model_copy(
            update={"method": name, "hyper": {}} | ({} if trained else {"lr": None, "train": None, "objective": ""})
        )
        found = cell(row=name)
        values, per_prompt = measure(found)
        record = Record(key=key(run), run=run, status="ok", kind="subject", scores=dict(finite(values)))
        record.metrics = versions(values)
        record.notes = ["a note"]
        folder = tmp_path / "toy" / "runs"
        record.files = {"prompts": f"{record.key}.prompts.json", "features": features.write(record.key, found, folder)}
        table = {"prompts": ["a", "b", "c"], "metrics": finite(per_prompt)}
        (folder / record.files["prompts"]).write_text(json.dumps(table, indent=1) + "\n")
        write(record, folder)
    return tmp_path / "toy"


@pytest.fixture
def new():
    """A metric that came after the board was run: the length of the mean picture of each prompt."""
    with METRICS.kept():

        @register
        @dataclass(frozen=True)
        class Agreement(Metric):
            name = "agreement"
            title = "agreement"
            definition = "length of the mean picture of a prompt"
            unit = "length"
            higher_is_better = True

            def score(self, f):
                return np.linalg.norm(f.cell.image.mean(axis=1), axis=-1)

        yield


@pytest.fixture
def mend():
    """A function: mend(score) puts a second version of the metric `text` in the place of the first."""
    with METRICS.kept():

        def put(score):
            METRICS["text"] = type("Mended", (METRICS["text"],), {"version": 2, "score": lambda self, f: score(f)})

        yield put


def records(board) -> dict[str, Record]:
    return {r.run.method: r for r in read_board(board)[0]}


def test_nothing_is_to_do_on_a_board_that_has_all(board):
    before = {p.name: p.read_bytes() for p in (board / "runs").iterdir()}
    found = rescore(board)
    assert (found.runs, found.changed, dict(found.computed), found.without, found.faults) == (4, 0, {}, [], [])
    assert {p.name: p.read_bytes() for p in (board / "runs").iterdir()} == before


def test_what_is_computed_again_is_what_was_there(board):
    found = rescore(board)
    assert found.compared == sum(len(r.scores) for r in records(board).values())
    assert found.difference
    assert 0 < found.difference[0] < 1e-3


def test_a_new_metric_is_written_and_nothing_else_changes(board, new):
    before = records(board)
    found = rescore(board)
    assert (found.changed, dict(found.computed)) == (4, {"agreement": 4})
    for name, after in records(board).items():
        was = before[name]
        assert 0 < (after.scores.pop("agreement") or 0) < 1
        assert after.metrics.pop("agreement") == 1
        assert after == was
        table = json.loads((board / "runs" / after.files["prompts"]).read_bytes())
        assert len(table["metrics"]["agreement"]) == 3 == len(table["prompts"])
    assert rescore(board).changed == 0


def test_a_new_metric_makes_no_run_missing_and_is_in_the_tables(board, new):
    from bench.report.material import gather
    from bench.report.table import to_csv
    from bench.study.frame import tidy

    rescore(board)
    plan = {r.key: r.run for r in read_board(board)[0]}
    assert plan == {key(run): run for run in plan.values()}
    assert missing(plan, read_stored(board))[0] == {}
    frame = tidy(read_board(board)[0]).frame
    assert frame["agreement"].between(0, 1).all()
    assert "agreement" in to_csv(gather(board).boards).splitlines()[0].split(",")


def test_a_mended_metric_is_computed_again_and_only_it(board, mend):
    mend(lambda f: -1.0)
    before = records(board)
    assert dict(rescore(board).computed) == {"text": 4}
    for name, after in records(board).items():
        assert (after.scores["text"], after.metrics["text"]) == (-1.0, 2)
        assert after.model_copy(update={"scores": before[name].scores, "metrics": before[name].metrics}) == before[name]
        table = json.loads((board / "runs" / after.files["prompts"]).read_bytes())
        assert "text" not in table["metrics"]  # it is one number now
        assert "identity" in table["metrics"]


def test_a_metric_that_is_not_defined_any_more_goes(board, mend):
    mend(lambda f: None)
    rescore(board)
    assert all("text" not in r.scores and r.metrics["text"] == 2 for r in records(board).values())
    assert rescore(board).changed == 0


def test_a_metric_that_fails_is_a_line_and_leaves_the_score(board, mend):
    mend(lambda f: 1 / 0)
    before = records(board)
    found = rescore(board)
    assert (found.changed, len(found.faults)) == (0, 1)
    assert found.faults[0].startswith("text was not computed: ZeroDivisionError")
    assert records(board) == before


def test_what_a_protocol_asks_for_beside_the_registered_ones(board):
    path = board / "runs" / f"{records(board)['lora'].key}.json"
    table = json.loads(path.read_bytes())
    table["run"]["metrics"] = ["kid_null[draws=50]"]
    path.write_text(json.dumps(table))
    assert dict(rescore(board).computed) == {"kid_null[draws=50]": 1}
    assert read(path).metrics["kid_null[draws=50]"] == 1
    assert rescore(board).changed == 0
    # truth's pictures are the truth pictures: nothing to compare
    assert dict(rescore(board, ["kid_null[draws=60]"]).computed) == {"kid_null[draws=60]": 3}
    found = rescore(board, ["torchmetrics.TotalVariation"])
    assert (found.changed, found.without, len(found.faults)) == (0, [], 4)
    assert "has no sample grid beside it: run it again" in found.faults[0]


def test_a_record_from_before_versions_has_the_first_of_each(board, new):
    for record in read_board(board)[0]:
        write(record.model_copy(update={"metrics": {}}), board / "runs")
    before = records(board)
    assert dict(rescore(board, ["agreement"]).computed) == {"agreement": 4}
    for name, after in records(board).items():
        assert after.scores.pop("agreement")
        assert after.scores == before[name].scores
        assert after.metrics == {name: 1 for name in [*after.scores, "agreement"]}


def test_only_the_named_metric_or_all_of_them(board, new):
    before = records(board)["lora"].scores
    assert set(rescore(board, ["kid"]).computed) == set()
    assert set(rescore(board, ["kid"], every=True).computed) == {"kid"}
    after = records(board)["lora"].scores
    assert "agreement" not in after
    assert after["kid"] != before["kid"]  # float16
    assert after["kid"] == pytest.approx(before["kid"], abs=1e-3)
    assert after | {"kid": None} == before | {"kid": None}
    assert {"agreement", "kid", "text", "attribute_scene"} <= set(rescore(board, every=True).computed)
    with pytest.raises(LitmusError, match="did you mean 'drift'"):
        rescore(board, ["drfit"])


def test_a_dry_run_writes_nothing(board, new):
    before = {p.name: p.read_bytes() for p in (board / "runs").iterdir()}
    assert dict(rescore(board, dry=True).computed) == {"agreement": 4}
    assert {p.name: p.read_bytes() for p in (board / "runs").iterdir()} == before


def test_runs_without_features_are_named_and_left_alone(board, new):
    by_name = records(board)
    paths = {name: board / "runs" / f"{r.key}.json" for name, r in by_name.items()}
    (board / "runs" / by_name["base"].files["features"]).unlink()  # git brought the record alone
    spoilt = board / "runs" / by_name["lora"].files["features"]
    spoilt.write_bytes(spoilt.read_bytes()[:100])
    failed = by_name["bias"].model_copy(update={"status": "diverged", "scores": {}, "files": {}})
    write(failed, board / "runs")
    found = rescore(board)
    assert (found.runs, dict(found.computed)) == (3, {"agreement": 1})
    assert set(found.without) == {paths["base"], paths["lora"]}
    (fault,) = found.faults
    assert str(spoilt) in fault
    assert "agreement" not in read(paths["base"]).scores


def test_features_of_other_pictures_are_noticed(board, cell):
    one = records(board)["lora"]
    features.write(one.key, replace(cell(row="another"), loss_train=9.0), board / "runs")
    found = rescore(board)
    assert found.difference
    assert found.difference[0] > 0.5
    assert found.difference[2] == one.key


def test_what_a_newer_litmus_wrote_stays(board, new):
    path = board / "runs" / f"{records(board)['lora'].key}.json"
    table = json.loads(path.read_bytes()) | {"of_tomorrow": [1]}
    path.write_text(json.dumps(table))
    rescore(board)
    assert json.loads(path.read_bytes())["of_tomorrow"] == [1]
