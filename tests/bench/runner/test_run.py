"""One run: what its record holds, and that it depends on nothing but its description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch

from bench.core.errors import LitmusError
from bench.protocol.models import load_protocol
from bench.records.record import Record, Run
from bench.runner import run as running
from bench.runner import train as training
from bench.runner.plan import expand, key
from bench.runner.resolve import competitor, look_up, unknown_line


@pytest.fixture
def runs(toy_protocol):
    """A function: runs(*changes) -> {"lora/style-a": Run} of the toy protocol."""

    def make(*changes) -> dict[str, Run]:
        running._task.cache_clear()
        protocol = load_protocol(toy_protocol(*changes))
        plan = expand(protocol, look_up(protocol))
        return {f"{r.spec}/{r.task.removeprefix('toy/')}": r for r in plan.values()}

    return make


def do(run: Run, tmp_path) -> Record:
    return running.execute(key(run), run, tmp_path, lambda *_: None)


def test_a_trained_run_leaves_scores_curve_costs_and_pictures(runs, tmp_path):
    from PIL import Image

    run = runs()["lora/subject-a"]
    record = do(run, tmp_path)
    assert (record.status, record.error, record.key) == ("ok", "", key(run))
    assert {"identity", "text", "drift", "diversity", "loss_train", "kid"} <= set(record.scores)
    assert record.curve.steps[0] == 0
    assert record.curve.steps[-1] == 3
    assert len(record.curve.running) == 3
    cost = record.cost.model_dump()
    assert [name for name, value in cost.items() if value is None] == ["bytes_cuda"]  # there is no such device
    assert cost["scalars_trainable"] == cost["scalars_stored"] > 0
    assert cost["scalars_denoiser"] > cost["scalars_trainable"]
    table = json.loads((tmp_path / record.files["prompts"]).read_text())
    assert len(table["prompts"]) == 3 == len(table["metrics"]["identity"])
    with Image.open(tmp_path / record.files["grid"]) as grid:
        assert grid.size == (3 * 32 + 2 * 2, 32)
    assert torch.__version__.startswith(record.provenance.versions["torch"])
    assert record.kind == "subject"


def test_a_run_leaves_its_features_beside_its_record(runs, tmp_path):
    from bench.metrics import listed, measure
    from bench.records import features

    plan = runs()
    for name in ("lora/style-a", "truth/style-a"):
        record = do(plan[name], tmp_path)
        assert record.files["features"] == f"{record.key}.features.safetensors"
        found = features.read(tmp_path / record.files["features"], record.key)
        assert (found.kind, record.kind) == ("style", "style")
        scores = measure(found)[0]
        assert scores.keys() == record.scores.keys()
        assert scores == pytest.approx(record.scores, abs=1e-3)
        assert record.metrics.keys() == {cls.name for cls in listed() if not cls.family} | scores.keys()
        assert set(record.metrics.values()) == {1}


def test_features_that_cannot_be_written_are_the_disks_fault(runs, tmp_path, monkeypatch):
    from bench.core.files import DiskError
    from bench.records import features

    def full(*args):
        raise DiskError("no space left")

    monkeypatch.setattr(features, "write_bytes", full)
    with pytest.raises(DiskError):
        do(runs()["truth/style-a"], tmp_path)


def test_floor_and_ceiling_have_scores_but_no_training(runs, tmp_path):
    plan = runs()
    base, truth, raw = (do(plan[f"{name}/style-a"], tmp_path) for name in ("base", "truth", "truth_raw"))
    assert [r.status for r in (base, truth, raw)] == ["ok"] * 3
    assert base.curve.steps == [0]
    assert base.scores["drift"] == pytest.approx(0, abs=1e-6)
    assert "style" in truth.scores
    assert truth.scores["text_mismatch"] is not None
    assert truth.scores["style"] != raw.scores["style"]
    assert not truth.curve.steps
    assert truth.cost.seconds_train is None


def test_a_run_does_not_depend_on_what_was_run_before(runs, tmp_path):
    plan = runs()
    fresh = do(plan["lora/subject-a"], tmp_path)
    for other in ("bias/subject-a", "lora/style-a"):
        do(plan[other], tmp_path)
    torch.manual_seed(1234)
    again = do(plan["lora/subject-a"], tmp_path)
    assert again.scores == fresh.scores
    assert again.curve == fresh.curve


def test_prior_preservation_runs_and_differs(runs, tmp_path):
    run = runs()["lora/subject-a"]
    plain = do(run, tmp_path)
    prior = do(run.model_copy(update={"objective": "prior"}), tmp_path)
    assert prior.status == "ok", prior.error
    assert prior.curve.running != plain.curve.running
    assert prior.cost.flops_step
    assert plain.cost.flops_step
    assert prior.cost.flops_step > 1.5 * plain.cost.flops_step


def test_a_rate_far_too_high_is_a_diverged_record_with_its_curve(runs, tmp_path):
    run = runs(('spec = "lora"', 'spec = "lora"\nlr = 1e6'), ("steps = 3", "steps = 12"))["lora/subject-a"]
    record = do(run, tmp_path)
    assert record.status == "diverged"
    assert record.error.startswith("diverged")
    assert record.curve.running
    assert not record.scores


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_want_of_memory_is_said_so(runs, tmp_path, monkeypatch, fault):
    def fit(*args, **kwargs):
        raise fault

    monkeypatch.setattr(training, "fit", fit)
    record = do(runs()["lora/subject-a"], tmp_path)
    assert record.status == "oom"
    assert "memory" in record.error
    assert record.cost.seconds_total is not None


def test_other_faults_are_not_taken_for_want_of_memory(runs, tmp_path, monkeypatch):
    def fit(*args, **kwargs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(training, "fit", fit)
    with pytest.raises(RuntimeError, match="shapes"):
        do(runs()["lora/subject-a"], tmp_path)


def test_a_task_that_changed_after_the_plan_is_not_scored(runs, tmp_path):
    run = runs()["lora/subject-a"].model_copy(update={"task_digest": "older"})
    record = do(run, tmp_path)
    assert (record.status, record.scores) == ("error", {})
    assert "the task changed" in record.error


def test_a_method_whose_file_changed_after_the_plan_is_not_run(runs, tmp_path, monkeypatch):
    run = runs()["lora/style-a"]
    monkeypatch.setattr(training, "source_digest", lambda cls: "another")
    record = do(run, tmp_path)
    assert record.status == "error"
    assert "the method's file changed after the plan was made" in record.error
    record = do(run.model_copy(update={"source": "another"}), tmp_path)
    assert "the objective's file changed after the plan was made" in record.error


def test_costs_are_measured_once_and_kept(toy_base, litmus_home, monkeypatch):
    from bench.cost import shared
    from bench.method import make

    calls = []
    monkeypatch.setattr(shared, "measure", lambda *args, **options: calls.append(1) or {"bytes_peak": len(calls)})
    lora = make("lora")
    assert [shared.method_costs(toy_base, lora, 2)["bytes_peak"] for _ in range(3)] == [1, 1, 1]
    assert shared.method_costs(toy_base, lora, 4)["bytes_peak"] == 2  # another batch
    assert shared.method_costs(toy_base, make("lora", rank=2), 2)["bytes_peak"] == 3
    (kept,) = [f for f in (litmus_home / "results" / ".cache").glob("cost-*") if f.read_text() == '{"bytes_peak": 1}']
    kept.write_text("{")
    assert shared.method_costs(toy_base, lora, 2)["bytes_peak"] == 4  # a broken file is made anew


def test_costs_of_another_step_are_kept_beside_and_move_none(toy_base, litmus_home, monkeypatch):
    """The name of what is kept for the plain step is made of the facts that it was always made of."""
    from bench.cost import shared
    from bench.method import make

    seen = []
    monkeypatch.setattr(shared, "measure", lambda *args: seen.append(args[5:]) or {"bytes_peak": len(seen)})
    lora = make("lora")
    other = "adamw8bit", lambda groups, lr: torch.optim.SGD(groups, lr)
    assert shared.method_costs(toy_base, lora, 2)["bytes_peak"] == 1
    (plain,) = (litmus_home / "results" / ".cache").glob("cost-*")
    facts = {
        "version": shared.VERSION, "torch": torch.__version__, "base": toy_base.digest, "compute": "fp32",
        "device": "cpu", "threads": torch.get_num_threads(), "method": ["LoRA", asdict(lora), ""], "batch": 2,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    assert plain.stem == f"cost-{digest[:24]}"
    assert shared.method_costs(toy_base, lora, 2, checkpointing=True)["bytes_peak"] == 2
    assert shared.method_costs(toy_base, lora, 2, optimiser=other)["bytes_peak"] == 3
    assert shared.method_costs(toy_base, lora, 2, frozen=True)["bytes_peak"] == 4
    assert shared.method_costs(toy_base, lora, 2, checkpointing=False, frozen=False)["bytes_peak"] == 1
    assert seen == [(False, None, False), (True, None, False), (False, other[1], False), (False, None, True)]


def test_a_full_disk_is_not_the_runs_fault(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LitmusError, match="cannot write in"):
        do(runs()["truth/subject-a"], tmp_path / "file")


# --- looking up what a protocol names ------------------------------------------------------------------------------


def test_a_spec_is_resolved_to_all_its_hyperparameters():
    one = competitor("lora[rank=4]")
    assert (one.spec, one.method, one.hyper["rank"]) == ("lora", "lora", 4)
    assert competitor("lora[rank=8]").spec == "lora[rank=8]"
    assert competitor("lora").lr > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('spec = "lora"', 'spec = "lroa"'), ["method 'lroa'", "'lora'", "litmus methods"]),
        (('spec = "lora"', 'spec = "lora[rnak=3]"'), ["'rnak'", "'rank'"]),
        (("toy/subject-a", "toy/subject-aa"), ["task 'toy/subject-aa'", "'toy/subject-a'", "litmus tasks"]),
        (('base = "toy"', 'base = "tyo"'), ["base 'tyo'", "'toy'"]),
        (('extractors = "toy"', 'extractors = "tyo"'), ["extractors 'tyo'", "'toy'"]),
        (("seeds = [0]", 'seeds = [0]\nobjective = "plian"'), ["objective 'plian'", "'plain'"]),
    ],
)
def test_an_unknown_name_comes_with_the_nearest(toy_protocol, change, words):
    with pytest.raises(LitmusError) as caught:
        look_up(load_protocol(toy_protocol(change)))
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_broken_picture_is_found_before_anything_runs(toy_protocol, litmus_home):
    path = toy_protocol()
    picture = litmus_home / "datasets/toy/subject-a/train/1.png"
    picture.write_bytes(picture.read_bytes()[:50])
    with pytest.raises(LitmusError, match=r"train/1\.png is broken"):
        look_up(load_protocol(path))


def test_words_that_the_base_was_never_taught_are_named_with_what_it_means():
    line = unknown_line("rex", ["corgi", "sofa"], "pocket")
    assert "corgi, sofa" in line
    assert "same" not in line
    assert "spells them in pieces of letters" in line


def test_words_that_the_pocket_base_was_never_taught_are_told_apart_all_the_same():
    from bench.bases import load_base

    tokenizer = load_base("pocket").tokenizer
    assert tokenizer is not None
    corgi, sofa = (tokenizer(f"a photo of a {word}")["input_ids"] for word in ("corgi", "sofa"))
    assert corgi != sofa
    assert len(corgi) > len(tokenizer("a photo of a mug")["input_ids"])  # letter by letter, or nearly
    assert tokenizer.unk_token_id not in tokenizer("a photo of a corgi")["input_ids"][1:-2]
