"""Where networks work: what may be asked for, that every base and every command does it, and that numbers agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.bases import Base, load_base
from bench.bases.registry import BASES, BaseSource
from bench.core.device import described, working_device, working_on
from bench.core.errors import LitmusError

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    """A function: gpus(n) makes torch say that this machine has n GPUs."""

    def make(n: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.delenv("LITMUS_DEVICE", raising=False)

    return make


def test_by_default_a_gpu_where_there_is_one(gpus, monkeypatch):
    gpus(2)
    assert working_device() == torch.device("cuda")
    assert working_device("cuda:1") == torch.device("cuda", 1)
    assert working_device("cpu") == CPU
    monkeypatch.setenv("LITMUS_DEVICE", "cpu")
    assert working_device() == CPU
    with working_on("cuda:1"):
        assert working_device() == torch.device("cuda", 1)
        assert working_device("cuda:0") == torch.device("cuda", 0)
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert working_device() == CPU


@pytest.mark.parametrize(
    ("asked", "n", "line"),
    [
        ("banana", 0, r"unknown device 'banana' \(--device is cpu, cuda"),
        ("cdua", 2, "unknown device 'cdua': did you mean 'cuda'"),
        ("CUDA", 2, "unknown device 'CUDA': did you mean 'cuda'"),
        ("meta", 0, "unknown device 'meta'"),
        ("cuda:x", 2, "unknown device 'cuda:x': did you mean 'cuda'"),
        ("cuda", 0, r"no device 'cuda': .*\(--device cpu"),
        ("cuda:7", 2, "no device 'cuda:7': this machine has cuda:0, cuda:1"),
        ("mps", 2, "no device 'mps': mps is Apple's GPU"),
    ],
)
@pytest.mark.parametrize("base", ["pocket", "toy"])
def test_what_is_not_there_is_one_line(gpus, base, asked, n, line):
    gpus(n)
    with pytest.raises(LitmusError, match=line) as told:
        load_base(base, device=asked)
    assert "\n" not in str(told.value)


def test_the_variable_is_named_where_it_is_at_fault(monkeypatch):
    monkeypatch.setenv("LITMUS_DEVICE", "banana")
    with pytest.raises(LitmusError, match=r"unknown device 'banana' \(\$LITMUS_DEVICE is cpu"):
        load_base("toy")


def test_a_base_from_outside_works_where_it_is_asked_to(toy_base, monkeypatch):
    from dataclasses import dataclass, replace

    moved = []

    with BASES.kept():

        @BASES.register
        @dataclass(frozen=True)
        class Mine(BaseSource):
            name = "mine"
            title = "a base that knows nothing of devices"

            def load(self) -> Base:
                vae = torch.nn.Linear(1, 1)
                monkeypatch.setattr(vae, "to", moved.append)
                return replace(toy_base, vae=vae, execution_device=None)

        assert load_base("mine").execution_device == working_device()
        assert moved == [working_device()]


def test_a_plan_says_so_before_anything_runs_and_workers_share_a_gpu(monkeypatch, tmp_path, catalogue):
    from dataclasses import replace

    from bench.core.settings import Settings
    from bench.protocol.models import make_protocol
    from bench.runner import board
    from bench.runner.resolve import look_up

    rules = make_protocol(
        {
            "name": "x",
            "base": "toy",
            "tasks": ["pocket/subject-mug"],
            "methods": [{"spec": "lora"}],
            "extractors": "toy",
        },
        "x",
    )
    with pytest.raises(LitmusError, match="unknown device 'banana'"):
        look_up(rules, "banana")
    monkeypatch.setenv("LITMUS_HOME", str(ROOT))  # its tasks
    assert look_up(rules, "cpu").device == "cpu"
    monkeypatch.setattr(board, "cores", lambda: 64)
    planned = board.plan(rules, tmp_path, catalogue=replace(catalogue(rules), device="cuda"))
    assert (planned.settings.device, planned.workers) == ("cuda", board.ON_A_GPU)
    assert replace(planned, settings=Settings("cpu")).workers == 64
    limits = rules.limits.model_copy(update={"workers": 9})
    assert replace(planned, protocol=rules.model_copy(update={"limits": limits})).workers == 9


def test_the_name_of_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert described("cpu") == "cpu"
    assert described("cuda:1") == "NVIDIA H200 (cuda)"


def test_every_command_that_loads_networks_takes_a_device():
    from typer.main import get_command

    from bench.__main__ import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    takes = {"bench", "run", "sweep", "anova", "score", "export", "merge", "cost", "fit"}
    for name in sorted(takes):
        assert "device" in {p.name for p in commands[name].params}, name
    for name in ("show", "check"):
        assert "device" in {p.name for p in commands["extractors"].commands[name].params}, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "objective", "specs"),
    [
        # draws while it trains; a start from data; the text side
        ("toy", "prior", ["dylora", "corda", "textual_inversion"]),
        ("pocket", "plain", ["lora"]),
    ],
)
def test_a_run_on_another_device_agrees_with_the_cpu(base, objective, specs):
    """Each tensor is on the device, and each draw from a stream of the CPU: see gpu.py, which stands for one."""
    words = [sys.executable, str(ROOT / "tests" / "bench" / "gpu.py"), base, objective, *specs]
    env = {key: x for key, x in os.environ.items() if key not in ("LITMUS_HOME", "LITMUS_DEVICE")}  # it makes homes
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count(": ok") == len(specs) + 3  # base, truth, truth_raw
