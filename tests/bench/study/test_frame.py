"""bench.study.frame: norms, headline, failures and what may share a table."""

from __future__ import annotations

import math

import pytest

from bench.metrics import METRICS
from bench.study.frame import comparable, kinds_of, losses, short, tidy, worst_is_low


def one(frame, row):
    found = frame[frame["row"] == row]
    assert len(found) == 1
    return found.iloc[0]


def test_norms_by_hand(make, block):
    seen = tidy([*block(), make("lora", concept=0.5, text=0.2)])
    line = one(seen.frame, "lora")
    assert line["concept_norm"] == pytest.approx((0.5 - 0.2) / (0.6 - 0.2))
    assert line["follow_norm"] == pytest.approx((0.2 - 0.1) / (0.3 - 0.1))
    assert line["headline"] == pytest.approx(0.75 * 0.5)
    assert not line["copies"]
    assert seen.warnings == []
    assert one(seen.frame, "base")["headline"] == 0
    assert one(seen.frame, "truth")["headline"] == 1


def test_below_the_floor_is_zero_not_a_product_of_negatives(make, block):
    line = one(tidy([*block(), make("lora", concept=0.0, text=0.05)]).frame, "lora")
    assert line["concept_norm"] < 0
    assert line["follow_norm"] < 0
    assert line["headline"] == 0


def test_nothing_is_gained_above_a_ceiling(make, block):
    records = [*block(), make("lora", concept=0.7, text=0.2), make("bias", concept=0.5, text=0.35)]
    frame = tidy(records).frame
    over, loud = one(frame, "lora"), one(frame, "bias")
    assert over["concept_norm"] > 1
    assert loud["follow_norm"] > 1
    assert (over["headline"], loud["headline"]) == (pytest.approx(0.5), pytest.approx(0.75))


def test_above_the_ceiling_copies(make, block):
    records = [*block(), make("lora", concept=0.7, text=0.2), make("truth_raw", concept=0.9, text=0.35)]
    frame = tidy(records).frame
    assert one(frame, "lora")["copies"]
    assert not one(frame, "truth_raw")["copies"]


def test_truth_may_be_recorded_for_one_seed_only(make, block):
    records = [*block(seed=0), *block(seed=1, truth=False), make("lora", seed=1, concept=0.4, text=0.2)]
    seen = tidy(records)
    assert one(seen.frame, "lora")["concept_norm"] == pytest.approx(0.5)
    assert seen.warnings == []


def test_own_seed_of_truth_goes_first(make, block):
    other = make("truth", seed=1, concept=1.2, text=0.3, text_mismatch=0.1)
    records = [*block(seed=0), *block(seed=1, truth=False), other, make("lora", seed=1, concept=0.7, text=0.2)]
    assert one(tidy(records).frame, "lora")["concept_norm"] == pytest.approx(0.5)


def test_the_floor_is_of_the_same_seed(make, block):
    records = [*block(seed=0), make("lora", seed=1, concept=0.4, text=0.2)]
    seen = tidy(records)
    assert math.isnan(one(seen.frame, "lora")["headline"])
    assert seen.warnings == ["no frozen base (floor) in blocks of subject-a: no concept norm and no headline there"]


def test_without_truth_one_warning(make, block):
    tasks = [f"pocket/subject-{c}" for c in "abcde"]
    records = [r for t in tasks for r in (*block(t, truth=False), make("lora", t, concept=0.4, text=0.2))]
    seen = tidy(records)
    assert seen.frame["headline"].isna().all()
    assert len(seen.warnings) == 1
    assert "no truth (ceiling) for subject-a, subject-b, subject-c and 2 more" in seen.warnings[0]


def test_a_ceiling_below_its_floor_gives_no_norm(make):
    records = [make("base", concept=0.5, text=0.2), make("truth", concept=0.4, text=0.3, text_mismatch=0.1)]
    seen = tidy([*records, make("lora", concept=0.45, text=0.2)])
    assert math.isnan(one(seen.frame, "lora")["concept_norm"])
    assert any("truth is not above its floor" in w for w in seen.warnings)


def test_failures_are_worst_and_counted(make, block):
    records = [
        *block(),
        make("lora", concept=0.5, text=0.2, drift=0.3, diversity=9.0),
        make("full", status="diverged"),
        make("bias", status="error"),
    ]
    seen = tidy(records)
    line = one(seen.frame, "full")
    assert line["failed"]
    assert (line["headline"], line["concept_norm"], line["follow_norm"]) == (0, 0, 0)
    assert line["concept"] == 0.2  # the base's, the block's lowest
    assert line["drift"] == 0.3  # the block's highest: lower is better
    assert math.isnan(line["diversity"])  # nobody is ranked by it
    assert seen.warnings == [
        "2 of 5 runs failed (1 diverged, 1 stopped by an error): they count as headline 0 and as their block's worst"
    ]


def test_a_failed_run_says_no_more_than_its_block_says_of_the_runs_beside_it(make, block):
    flat = [make("base", concept=0.5, text=0.2), make("truth", concept=0.4, text=0.3, text_mismatch=0.1)]
    frame = tidy([*flat, make("lora", concept=0.45, text=0.2), make("full", status="diverged")]).frame
    lora, full = one(frame, "lora"), one(frame, "full")
    for name in ("concept_norm", "headline"):
        assert (math.isnan(lora[name]), math.isnan(full[name])) == (True, True)
    assert (lora["follow_norm"], full["follow_norm"]) == (pytest.approx(0.5), 0)
    # nor where all beside it were ended by the machine; alone, the frozen base speaks for the block
    alone = one(tidy([*block(), make("full", status="diverged")]).frame, "full")
    assert (alone["headline"], alone["concept"]) == (0, 0.2)
    frame = tidy([*block(), make("lora", status="oom"), make("full", status="diverged")]).frame
    assert frame.loc[frame["trained"], ["headline", "concept"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("oom", "out of memory: fewer workers"),
        ("timeout", "--timeout of litmus run, or limits.timeout"),
        ("crashed", "logs/"),
    ],
)
def test_what_the_machine_ended_has_no_score_and_the_line_says_what_to_do(make, block, status, words):
    lost = make("bias", status=status)
    seen = tidy([*block(), make("lora", concept=0.5, text=0.2, drift=0.3), lost])
    line = one(seen.frame, "bias")
    assert line["failed"]
    assert all(math.isnan(line[n]) for n in ("headline", "concept_norm", "follow_norm", "concept", "drift"))
    (said,) = seen.warnings
    assert "1 of 4 runs were ended by the machine" in said
    assert "bias on subject-a, seed 0" in said
    assert words in said
    assert "the same command runs them again, 3 times in all" in said
    (said,) = tidy([*block(), lost.model_copy(update={"attempts": 3})]).warnings
    assert "begun 3 times or more: --retry-failed" in said
    assert "the same command" not in said


def judged(record, acceptance):
    return record.model_copy(update={"encoders": {"identity": {"model": "dino:vits16"}, "acceptance": acceptance}})


def test_an_evaluator_that_is_not_the_published_one_is_told(make, block):
    same = {"dino:vits16": {"found": 0.7741, "expected": 0.774, "same": True}}
    other = {
        "openclip:ViT-B-32/openai": {"found": 0.851, "expected": 0.885, "same": False},
        "dinov2:vitl14": {"found": 0.6, "expected": None, "same": None},
        "doubts": ["29 of 30 subjects"],
    }
    run = make("lora", concept=0.5, text=0.2)
    assert tidy([judged(r, same) for r in (*block(), run)]).warnings == []
    (line,) = tidy([*(judged(r, same) for r in block()), judged(run, same | other)]).warnings
    assert line == (
        "the evaluator openclip:ViT-B-32/openai is reported as different: real pictures came out at 0.851, published "
        "is 0.885 (judged on: 29 of 30 subjects): its scores do not compare with papers' (1 of 3 runs)"
    )
    (line,) = tidy([judged(r, {}) for r in (*block(), run)]).warnings
    assert line.startswith("the evaluators e were not held against published values")
    assert "litmus extractors check e" in line


def test_directions_are_those_of_the_metrics():
    assert worst_is_low("identity") is True
    assert worst_is_low("drift") is False
    assert worst_is_low("attribute_scene") is True
    assert worst_is_low("bytes_disk") is None
    assert all(worst_is_low(name) is m.higher_is_better for name, m in METRICS.items())


def test_other_rules_never_share_a_table(make, block):
    old = [make("full", concept=0.5, text=0.2, protocol=0, finished="0"), make("bias", steps=10, finished="0")]
    records = [*block(), *old, make("lora", concept=0.5, text=0.2, finished="2")]
    kept, lines = comparable(records)
    assert {r.run.method for r in kept} == {"base", "truth", "lora"}
    assert len(lines) == 1
    assert "2 of 5 records were made under other rules" in lines[0]


def test_an_older_version_of_a_task_is_left_out(make):
    records = [make("lora", task_digest="old", finished="1"), make("lora", task_digest="new", finished="2")]
    kept, lines = comparable(records)
    assert [r.run.task_digest for r in kept] == ["new"]
    assert lines


def test_rows_are_told_apart_by_rate_and_objective(make, block):
    scores = {"concept": 0.5, "text": 0.2}
    records = [
        *block(),
        make("lora", lr=1e-3, **scores),
        make("lora", lr=2e-3, **scores),
        make("bias", **scores),
        make("bias", objective="prior", **scores),
    ]
    rows = set(tidy(records).frame["row"])
    assert {"lora @ 0.001", "lora @ 0.002", "bias", "bias + prior"} <= rows


def test_kind_is_what_the_scores_say(make):
    records = [make("base", "folder:/data/x/ink?kind=style", style=0.1), make("base", "pocket/subject-a", identity=0.1),
               make("lora", "pocket/style-b", status="error"), make("base", "dreambooth/dog6", style=0.2)]  # fmt: skip
    assert list(kinds_of(records).values()) == ["style", "subject", "style", "style"]


def test_kind_is_what_the_record_says_before_anything_else(make):
    failed = make("lora", "pocket/style-b", status="error").model_copy(update={"kind": "subject"})
    crashed = make("bias", "pocket/style-b", status="crashed")  # the launcher's record, which knows no kind
    assert kinds_of(r for r in (failed, crashed)) == {"pocket/style-b": "subject"}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("pocket/subject-robot-a", "subject-robot-a"),
        ("folder:/data/someone/pictures/dog?identifier=sks", "dog"),
        ("folder:C:\\pictures\\dog?identifier=sks", "dog"),
        ("dreambooth/dog6", "dog6"),
        ("folder:/data/dog/", "dog"),
    ],
)
def test_short_prints_no_path(task, name):
    assert short(task) == name


def test_no_records(make):
    seen = tidy([])
    assert seen.frame.empty
    assert "no records" in seen.warnings[0]


def test_losses_are_relative_to_the_start(make, block):
    curve = {"steps": [0, 10], "train": [0.4, 0.2], "heldout": [0.5, None]}
    found = losses([*block(), make("lora", curve=curve), make("full", status="diverged", curve=curve)])
    assert found["row"].tolist() == ["lora", "lora"]
    assert found["train"].tolist() == [1.0, 0.5]
    assert found["heldout"].iloc[0] == 1.0
    assert math.isnan(found["heldout"].iloc[1])


def test_stored_records(stored):
    frame = tidy(stored).frame
    assert len(frame) == len(stored)
    trained = frame[frame["trained"]]
    assert trained["headline"].notna().all()
    assert frame["failed"].sum() == 1
