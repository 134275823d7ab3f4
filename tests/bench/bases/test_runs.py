"""Runs on tiny bases of diffusers: options of training, precisions, refusals. Every family: interop/test_chain.py."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import pytest

from bench.bases import base_facts
from bench.core.errors import LitmusError
from bench.core.settings import Settings
from bench.cost import shared
from bench.protocol.models import make_protocol
from bench.runner import run as running
from bench.runner.plan import expand, key
from bench.runner.resolve import look_up


@pytest.fixture
def runs(litmus_home, task_folder, tiny_base, monkeypatch):
    """A function: runs("sdxl", ("lora",)) -> {spec: Run} on a toy subject."""
    shutil.copytree(task_folder("subject", "subject-a"), litmus_home / "datasets/toy/subject-a")
    monkeypatch.setattr(shared, "CALLS", 2)
    monkeypatch.setenv("LITMUS_DEVICE", "cpu")

    def make(name: str, methods, options="", **train):
        running._task.cache_clear()
        rules = {
            "name": "tiny",
            "base": f"{tiny_base(name)}?dtype=fp32&resolution=64{options}",
            "extractors": "toy",
            "tasks": ["toy/subject-a"],
            "train": {"steps": 2, "batch": 2, **train},
            "sample": {"steps": 1},
            "methods": [{"spec": spec} for spec in methods],
        }
        protocol = make_protocol(rules)
        catalogue = look_up(protocol)
        assert any("licence: cc0-1.0" in note for note in catalogue.notes)
        return {run.method: run for run in expand(protocol, catalogue).values()}

    return make


def do(run, tmp_path):
    return running.execute(key(run), run, tmp_path, lambda *_: None)


@pytest.fixture(autouse=True)
def _one_core(monkeypatch):
    """Tests share a machine, and the next one wants one thread again."""
    import torch

    monkeypatch.setattr(running, "cores", lambda: 1)
    yield
    torch.set_num_threads(1)


def test_a_method_without_a_place_in_a_base_says_so(runs, tmp_path):
    record = do(runs("flux2-klein", ("bias",))["bias"], tmp_path)
    assert record.status == "error"
    assert "no module with role 'bias'" in record.error


def test_options_of_training_reach_a_run(runs, tmp_path):
    plain = do(runs("sd15", ("lora",))["lora"], tmp_path)
    changed = {"accumulate": 2, "checkpointing": True, "min_snr": 5.0, "ema": 0.9}
    run = runs("sd15", ("lora",), **changed)["lora"]
    assert run.train
    assert key(run) != plain.key
    record = do(run, tmp_path)
    assert record.status == "ok", record.error
    assert record.curve.running != plain.curve.running
    same = do(runs("sd15", ("lora",), checkpointing=True)["lora"], tmp_path)
    assert same.curve.running == pytest.approx(plain.curve.running, rel=1e-4)


def test_prior_preservation_on_two_text_encoders(runs, tmp_path):
    run = runs("sdxl", ("bias",))["bias"].model_copy(update={"objective": "prior"})
    record = do(run, tmp_path)
    assert record.status == "ok", record.error
    plain = do(runs("sdxl", ("bias",))["bias"], tmp_path)
    assert (record.curve.running[0] or 0) > (plain.curve.running[0] or 0)


def test_half_precision_trains_in_full(runs, tmp_path):
    """svdiff starts from singular vectors, which bfloat16 has not."""
    for method, run in runs("sdxl", ("lora", "svdiff"), dtype="bf16").items():
        if run.train:
            name = run.base.replace("dtype=fp32", "dtype=bf16")
            record = do(run.model_copy(update={"base": name, "base_digest": base_facts(name)[1]}), tmp_path)
            assert record.status == "ok", (method, record.error)
            assert len(record.curve.running) == 2


def test_what_needs_bitsandbytes_says_so(runs, tmp_path):
    if find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    record = do(runs("sd15", ("lora",), optimizer="adamw8bit")["lora"], tmp_path)
    assert record.status == "error"
    assert "8-bit Adam needs bitsandbytes: pip install 'peft-litmus[quantised]'" in record.error
    with pytest.raises(LitmusError, match="a quantised base needs bitsandbytes"):
        runs("sd15", ("lora",), options="&quantise=nf4")


def test_min_snr_on_a_flow_is_refused_at_the_plan(runs):
    with pytest.raises(LitmusError, match="SD 3 is a flow.*leave --min-snr out"):
        runs("sd35", ("bias",), min_snr=5.0)
    assert runs("sdxl", ("bias",), min_snr=5.0)


def test_a_base_of_diffusers_takes_its_share_of_the_cores(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 2)
    assert running.threads("pocket") == running.threads("toy") == 1
    run = runs("sd15", ("bias",))["base"]
    assert do(run, tmp_path).provenance.machine.threads == 2
    shared_machine = running.execute(key(run), run, tmp_path, lambda *_: None, Settings(workers=2))
    assert shared_machine.provenance.machine.threads == 1


def test_a_base_that_changed_after_the_plan_is_not_run(runs, tmp_path):
    run = runs("sd15", ("bias",))["bias"].model_copy(update={"base_digest": "older"})
    record = do(run, tmp_path)
    assert record.status == "error"
    assert "the base changed" in record.error


def test_a_device_that_is_not_there(monkeypatch):
    from bench.core.device import working_device

    monkeypatch.setenv("LITMUS_DEVICE", "cuda:77")
    with pytest.raises(LitmusError, match="no device 'cuda:77'"):
        working_device()
    assert working_device("cpu").type == "cpu"  # what a command was told goes before the user's default
    monkeypatch.setenv("LITMUS_DEVICE", "gpu")
    with pytest.raises(LitmusError, match="unknown device 'gpu'"):
        working_device()
