from __future__ import annotations

import json
import math

import pytest

from bench.core.errors import LitmusError
from bench.study.anova_answer import agreement, answer, disagreements, winner
from bench.study.anova_frame import ARROW, grid, read
from bench.study.anova_mixed import mixed
from bench.study.anova_paper import SIMILARITY

SHORT = tuple(p for p in SIMILARITY if p[0] in ("attn1i", "attn2o", "ffni"))  # 8 pairs


def planted(cell):
    """The input decides, the activation a little, the scale not at all; subjects are easier than styles."""
    value = 0.5 + 0.2 * (cell.source == "attn2o") - 0.1 * (cell.source == "attn1i") + 0.04 * (cell.target == "ffni")
    return value + 0.05 * (cell.activation == "relu") + 0.15 * ("subject" in cell.task)


@pytest.fixture(scope="module")
def study(simulated):
    records, design = simulated(planted, noise=0.03, pairs=SHORT)
    return grid(records, design)


@pytest.fixture(scope="module")
def told(study):
    found = answer(study)
    assert found is not None
    return found


def test_the_headline_is_what_was_planted(study):
    assert len(study.frame) == 64
    assert set(study.frame["kind"]) == {"subject", "style"}
    assert study.frame.groupby("source")["headline"].mean()["attn2o"] == pytest.approx(0.8, abs=0.02)
    assert len(study.whole) == 8 * 4 * 8


def test_a_planted_effect_is_found_with_the_right_factor(told):
    found = {e.term: e for e in told.second}
    main = {t: e for t, e in found.items() if ":" not in t and t != "block"}
    assert max(main, key=lambda t: main[t].eta) == "source"
    assert found["source"].p < 1e-6
    assert found["activation"].p < 1e-3
    assert found["scale"].p > 0.05
    assert found["source:scale"].p > 0.01
    alone = {e.term: e for e in told.paper}
    assert alone["source"].f > 10 > alone["scale"].f


def test_and_with_the_right_size_and_interval(told):
    means, half = told.means["activation"], told.means["activation"].half()
    assert means.value("relu") - means.value("identity") == pytest.approx(0.05, abs=0.02)
    truth = {
        "attn2o": 0.5 + 0.2 + 0.02,
        "attn1i": 0.5 - 0.1 + 0.01,
        "ffni": 0.5 + 0.02,
    }  # targets evenly: half are ffni
    found, wide = told.means["source"], told.means["source"].half()
    for (name,), value, h in zip(found.levels, found.values, wide, strict=True):
        assert abs(value - (truth[name] + 0.025 + 0.075)) < 1.5 * h
        assert h < 0.02
    assert half[0] < 0.015
    share = told.get("source")
    assert share.low < share.eta < share.high or share.eta == pytest.approx(share.high, abs=0.02)


def test_the_pair_that_is_best_is_named_with_its_ties(study, told):
    assert told.order()[0] == ARROW.join(("attn2o", "ffni"))
    assert "attn1i" + ARROW + "attn1i" not in told.tied()
    assert set(told.ties) == {ARROW.join(p) for p in SHORT}
    table = winner(study, told)
    assert table["hyper"]["source"] == "attn2o"
    assert table["hyper"]["activation"] == "relu"
    assert table["study"] == study.design["study"]
    assert table["tied"][0] == ["attn2o", "ffni"]
    assert table["published"]["rank"] == 1
    assert json.loads(json.dumps(table)) == table


@pytest.mark.parametrize(("lead", "stays"), [(0.005, True), (0.4, False)])
def test_the_default_leaves_the_published_form_on_evidence_alone(simulated, lead, stays):
    def other(cell):
        return 0.3 + lead * (cell.source == "ffni") + 0.3 * (cell.scale == 4)

    records, design = simulated(other, noise=0.03, pairs=SHORT)
    found = grid(records, design)
    told = answer(found)
    assert told is not None
    assert (ARROW.join(("attn2o", "ffni")) in told.tied()) is stays
    hyper = winner(found, told)["hyper"]
    assert (hyper["source"] == "attn2o") is stays
    assert (hyper["activation"], hyper["scale"]) == ("relu", 4)  # nothing hangs on the activation, much on the scale


def test_kinds_apart(study):
    subject, style = answer(study, kind="subject", light=True), answer(study, kind="style", light=True)
    assert subject is not None
    assert style is not None
    assert subject.cells == style.cells == 32
    assert subject.means["pair"].values.mean() - style.means["pair"].values.mean() == pytest.approx(0.15, abs=0.03)
    assert not [e for e in subject.second if "kind" in e.term]


def test_a_study_that_was_stopped_and_a_run_that_failed(simulated):
    records, design = simulated(planted, noise=0.03, pairs=SHORT)
    some = [r for r in records if r.run.method != "adapter" or design["cells"][r.key]["replicate"] < 5]
    lost = next(r for r in some if r.run.method == "adapter")
    some[some.index(lost)] = lost.model_copy(update={"status": "diverged", "scores": {}})
    found = grid(some, design)
    assert len(found.frame) == 40
    assert found.frame.loc[found.frame["failed"], "headline"].tolist() == [0.0]
    part = answer(found, light=True)
    assert part is not None
    source = part.get("source")
    assert source is not None
    assert source.p < 0.05
    assert not [v for v in part.heat.values() if math.isnan(v)]
    with pytest.raises(LitmusError, match="no cell of the study has a record yet"):
        grid([r for r in records if r.run.method != "adapter"], design)


def test_the_smallest_study_is_the_paper_s_own_form(simulated):
    """One replicate: 20 cells in one block, one way F over them and two main effects."""
    records, design = simulated(
        planted, noise=0.01, n=1, tasks=("pocket/subject-a",), seeds=(0,), activations=("relu",), scales=(1.0,)
    )
    found = answer(grid(records, design))
    assert found is not None
    assert [(e.term, e.df, e.df_error) for e in found.paper] == [("source", 9, 10), ("target", 6, 13)]
    source = found.get("source")
    assert source is not None
    assert source.p < 0.001
    assert found.map_[0].f == pytest.approx(found.paper[0].f)
    assert len(found.tied()) == 20  # a cell each: no two pairs can be told apart
    assert found.mixed.notes == ["one task only: nothing can be said about others"]


def test_specs_of_two_defaults_do_not_meet(simulated):
    """`adapter` means whatever was published when a record was made: cells are told apart by their settings."""
    records, design = simulated(planted, pairs=SHORT)
    assert {r.run.spec for r in records if r.run.method == "adapter"} == {"adapter"}
    assert len(grid(records, design).frame) == 64


def test_tasks_that_disagree_show_in_the_mixed_model(simulated):
    def effect(cell):
        turn = 1 if cell.task.endswith("a") else -1
        return 0.5 + 0.3 * ("subject" in cell.task) + 0.1 * turn * (cell.source == "attn2o")

    records, design = simulated(effect, noise=0.02, pairs=SHORT)
    found = mixed(grid(records, design).frame, "headline", ["source", "activation"])
    against = {e.term: e for e in found.against}
    assert against["source"].p > 0.05
    assert found.parts["pair in task"] > found.parts["rest"] > 0
    assert found.parts["task"] > 0.01


def test_agreement_with_the_published_map():
    assert agreement(SIMILARITY)[0] == pytest.approx(1)
    assert disagreements(SIMILARITY) == []
    turned = {p: -v for p, v in SIMILARITY.items()}
    assert agreement(turned)[0] == pytest.approx(-1)
    assert disagreements(turned)[0][0] in SIMILARITY
    assert math.isnan(agreement({("attn2o", "ffni"): 1.0})[0])


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(LitmusError, match=r"holds no study \(no design.json\)"):
        read(tmp_path)
