"""Plans: which runs a protocol means, and which of them are the same run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import LitmusError
from bench.protocol.models import Train, make_protocol
from bench.runner.plan import Goal, expand, key

ROOT = Path(__file__).resolve().parents[3]
GOOD = {"name": "x", "tasks": ["a/one", "a/two"], "seeds": [0, 1], "methods": [{"spec": "lora"}, {"spec": "bias"}]}


def cells(plan, method=None):
    return sorted((r.spec, r.task, r.seed) for r in plan.values() if method in (None, r.method))


@pytest.fixture
def expanded(catalogue):
    def make(**changes):
        protocol = make_protocol(GOOD | changes)
        return expand(protocol, catalogue(protocol))

    return make


def test_every_method_meets_every_block_with_floor_and_ceiling(expanded):
    plan = expanded()
    blocks = [("a/one", 0), ("a/one", 1), ("a/two", 0), ("a/two", 1)]
    assert cells(plan) == sorted((m, *b) for m in ("base", "truth", "truth_raw", "lora", "bias") for b in blocks)


def test_a_task_without_truth_has_no_truth_rows(catalogue):
    protocol = make_protocol(GOOD)
    plan = expand(protocol, catalogue(protocol, truth=False))
    assert {r.method for r in plan.values()} == {"base", "lora", "bias"}


def test_a_row_may_differ_from_the_board(expanded):
    rows = [{"spec": "lora", "lr": 0.5, "seeds": [7], "tasks": ["a/two"], "objective": "prior"}]
    plan = expanded(methods=rows)
    (run,) = [r for r in plan.values() if r.method == "lora"]
    assert (run.lr, run.seed, run.task, run.objective) == (0.5, 7, "a/two", "prior")
    assert cells(plan, "base") == [("base", "a/two", 7)]


def test_extra_adds_seeds_with_their_own_floor(expanded):
    plan = expanded(seeds=[0], extra=[{"methods": ["lora"], "seeds": [1, 2], "tasks": ["a/one"]}])
    assert cells(plan, "lora") == [
        ("lora", "a/one", 0),
        ("lora", "a/one", 1),
        ("lora", "a/one", 2),
        ("lora", "a/two", 0),
    ]
    assert cells(plan, "bias") == [("bias", "a/one", 0), ("bias", "a/two", 0)]
    assert ("base", "a/one", 2) in cells(plan)
    assert ("truth", "a/one", 2) in cells(plan)


def test_extra_of_a_row_that_is_not_there(expanded):
    with pytest.raises(LitmusError, match="did you mean 'lora'"):
        expanded(extra=[{"methods": ["lroa"]}])


def test_a_run_that_two_rows_name_is_there_once(expanded):
    plan = expanded(extra=[{"methods": ["lora"], "seeds": [0, 1]}])
    assert len(cells(plan, "lora")) == 4


def test_base_as_a_row_is_the_floor(expanded):
    assert expanded(methods=[{"spec": "base"}, {"spec": "lora"}, {"spec": "bias"}]).keys() == expanded().keys()


def test_a_sweep_is_every_rate_on_every_block(expanded):
    plan = expanded(methods=[], sweep={"lrs": {"lora": [0.1, 0.2]}})
    assert sorted((r.lr, r.task, r.seed) for r in plan.values() if r.method == "lora") == [
        (lr, t, s) for lr in (0.1, 0.2) for t in ("a/one", "a/two") for s in (0, 1)
    ]


def test_nothing_is_swept_on_test_tasks(catalogue):
    protocol = make_protocol(GOOD | {"sweep": {"lrs": {"lora": [0.1]}}})
    with pytest.raises(LitmusError, match="is a test task"):
        expand(protocol, catalogue(protocol, split="test"))


def test_the_key_moves_with_all_that_decides_a_number_and_nothing_else(make_run):
    run = make_run()
    assert key(run) == key(run.model_copy(update={"spec": "another way to write it"}))
    changes = {
        "protocol": 2,
        "code": "2",
        "method": "other",
        "source": "x",
        "hyper": {"rank": 5},
        "lr": 0.2,
        "objective": "prior",
        "objective_source": "x",
        "base": "other",
        "base_digest": "x",
        "task": "other",
        "task_digest": "x",
        "seed": 9,
        "train": None,
        "sample": run.sample.model_copy(update={"steps": 99}),
        "extractors": "other",
        "extractors_digest": "x",
    }
    assert key(run) == key(run.model_copy(update={"metrics": ("torchmetrics.TotalVariation",)}))
    assert set(changes) | {"spec", "metrics"} == set(type(run).model_fields)
    keys = [key(run), *(key(run.model_copy(update={name: value})) for name, value in changes.items())]
    assert len(set(keys)) == len(keys)


def test_the_key_is_the_same_tomorrow(make_run):
    """A stored key: when this fails, every record in the world has become a missing one."""
    assert key(make_run("x")) == "7bf6060bda5c7b38"


def test_the_board_name_is_not_part_of_a_run(catalogue):
    plans = [expand(p := make_protocol(GOOD | {"name": name}), catalogue(p)) for name in ("x", "y")]
    assert plans[0].keys() == plans[1].keys()


def test_keys_of_published_records_stand():
    """Every record of the quick board is found under the name that today's code gives its run."""
    from bench.records import record

    found, faults = record.read_board(ROOT / "results" / "quick")
    assert found
    assert not faults
    assert {key(one.run) for one in found} == {one.key for one in found}
    assert "0bc1f48729aeb687" in {key(one.run) for one in found}


def test_what_came_later_is_in_a_key_only_where_it_is_used(make_run):
    run = make_run("x")
    assert run.train
    changes = {
        "accumulate": 2,
        "checkpointing": True,
        "optimizer": "adamw8bit",
        "min_snr": 5.0,
        "ema": 0.9,
        "compile": True,
    }
    assert set(changes) == set(Train.later)
    keys = [key(run)]
    for name, value in changes.items():
        default = run.train.model_copy(update={name: Train.model_fields[name].default})
        assert key(run.model_copy(update={"train": default})) == key(run)
        keys.append(key(run.model_copy(update={"train": run.train.model_copy(update={name: value})})))
    assert len(set(keys)) == len(keys)


def test_a_base_s_name_is_filled_in_by_the_catalogue(catalogue):
    protocol = make_protocol(GOOD | {"base": "owner/name"})
    facts = replace(catalogue(protocol), base="owner/name@commit?dtype=bf16")
    assert {run.base for run in expand(protocol, facts).values()} == {"owner/name@commit?dtype=bf16"}


@pytest.mark.parametrize(
    ("base", "named", "found"),
    [
        ("pocket", {}, "pocket"),
        ("toy", {}, "pocket"),
        ("owner/name", {}, "dino-clip"),
        ("models/sdxl?dtype=fp32", {}, "dino-clip"),
        ("owner/name", {"extractors": "toy"}, "toy"),
    ],
)
def test_real_pictures_are_looked_at_by_published_encoders(catalogue, base, named, found):
    protocol = make_protocol(GOOD | {"base": base} | named)
    assert {run.extractors for run in expand(protocol, catalogue(protocol)).values()} == {found}


def test_an_objective_is_named_by_its_canonical_spec_and_its_file(catalogue, make_run):
    protocol = make_protocol(GOOD | {"objective": "prior[ weight = 1.0 ]"})
    assert protocol.objective == "prior[weight=1.0]"
    facts = replace(catalogue(protocol), objectives={protocol.objective: Goal("prior", "digest")})
    (run, *_) = [r for r in expand(protocol, facts).values() if r.method == "lora"]
    assert (run.objective, run.objective_source) == ("prior", "digest")
    (base, *_) = [r for r in expand(protocol, facts).values() if r.method == "base"]
    assert (base.objective, base.objective_source) == ("", "")
    plain = make_run("x")
    assert set(type(plain).later) == {"objective_source"}
    assert key(plain.model_copy(update={"objective_source": ""})) == key(plain)
    with pytest.raises(LitmusError, match="objective: cannot read 'prior\\['"):
        make_protocol(GOOD | {"objective": "prior["})
