"""Fixtures of the runner's tests: a board of toy tasks, and workers that do as a run's hyperparameters say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ACTOR = '''
"""A worker without torch: `hyper["act"]` says what becomes of a run."""
import os, signal, sys, time
from bench.core.errors import LitmusError
from bench.core.files import DiskError
from bench.records.record import Record
from bench.runner import worker

if "DEAF" in os.environ:  # as where the kernel cannot be asked to end a process with its parent
    worker._die_with = lambda parent: None

def execute(key, run, folder, report, settings):
    act, _, value = str(run.hyper.get("act", "")).partition(":")
    print("chatter of a library"); os.write(1, b"{not json}\\n")
    with open(os.environ.get("ACTED", os.devnull), "a") as file:
        file.write(f"{os.getpid()} {run.spec} {run.task} {run.seed}\\n")
    report("training", 1, 2, 0.5)
    if act == "sleep":
        time.sleep(float(value))
    elif act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "exit":
        os._exit(int(value))
    elif act == "write":
        from bench.core.files import write_bytes
        write_bytes(folder / f"{key}.png", b"x" * int(value))
    elif act == "starve":
        return Record(key=key, run=run, status="oom", error="out of memory")
    elif act == "fail":
        raise ValueError("two\\nlines")
    elif act == "refuse":
        raise LitmusError("one clear line")
    return Record(key=key, run=run, status="ok", scores={"identity": run.seed / 7})

worker.serve(execute)
'''


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Subprocesses find `bench` in a clone that is not installed, too."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def actor(tmp_path) -> tuple[str, ...]:
    """The command of a worker that acts instead of training."""
    file = tmp_path / "actor.py"
    file.write_text(ACTOR, encoding="utf-8")
    return (sys.executable, str(file))


@pytest.fixture
def catalogue():
    """A function: catalogue(protocol) -> facts about everything it names, without looking anything up."""
    from bench.plugin.spec import parse_spec
    from bench.runner.plan import Catalogue, Competitor, Goal, TaskFacts, objectives, specs, task_names

    def make(protocol, truth: bool = True, split: str = "tuning") -> Catalogue:
        competitors = {}
        for spec in specs(protocol):
            name, hyper = parse_spec(spec)
            competitors[spec] = Competitor(spec=spec, method=name, hyper=hyper, lr=0.01)
        facts = TaskFacts(digest="d", truth=truth, split=split)
        goals = {spec: Goal(spec) for spec in objectives(protocol)}
        return Catalogue(competitors, {name: facts for name in task_names(protocol)}, goals, "b", "e")

    return make


@pytest.fixture
def make_run():
    """A function: make_run(act, seed=0, task="t") -> a Run whose worker acts so."""
    from bench.protocol.models import Sample, Train
    from bench.records.record import Run

    def make(act: str = "", seed: int = 0, task: str = "t", spec: str = "") -> Run:
        return Run(
            protocol=1,
            code="1",
            method="lora",
            spec=spec or f"lora[act={act}]",
            hyper={"act": act},
            lr=0.1,
            objective="plain",
            base="toy",
            base_digest="b",
            task=task,
            task_digest="d",
            seed=seed,
            train=Train(),
            sample=Sample(),
            extractors="toy",
            extractors_digest="e",
        )

    return make


TOY = """
name = "toy"
base = "toy"
extractors = "toy"
tasks = ["toy/subject-a", "toy/style-a"]
seeds = [0]
[train]
steps = 3
batch = 2
[sample]
steps = 2
[[methods]]
spec = "lora"
[[methods]]
spec = "bias"
"""


@pytest.fixture
def toy_protocol(litmus_home, task_folder, tmp_path):
    """A function: toy_protocol(text=TOY) -> the path of a protocol on toy tasks that lie in this test's home."""
    shutil.copytree(task_folder("subject", "subject-a"), litmus_home / "datasets/toy/subject-a")
    shutil.copytree(task_folder("style", "style-a"), litmus_home / "datasets/toy/style-a")

    def write(*changes: tuple[str, str]) -> Path:
        text = TOY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "toy.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a device of 256 KiB, for the real message of a full one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def simulated():
    """A function: simulated(effect) -> (records, design) of a study whose headline is effect(cell) plus noise.

    In every block the base is at 0 and truth at 1, and all follow their prompts, so that headline = what was planted.
    """
    from bench.anova.design import aliases, cells
    from bench.core.rng import numpy_rng
    from bench.protocol.models import Anova, Sample, Train
    from bench.records.record import Cost, Machine, Provenance, Record, Run
    from bench.runner.plan import key
    from bench.study.anova_paper import SIMILARITY

    def study(effect, noise=0.03, n=8, pairs=tuple(SIMILARITY), seeds=(0, 1), tasks=None, name="sim", **factors):
        tasks = tasks or ("pocket/subject-a", "pocket/style-b", "pocket/subject-c", "pocket/style-d")
        factors = {"activations": ("relu", "identity"), "scales": (1.0, 4.0)} | factors
        blocks = [("pocket", task, seed) for seed in seeds for task in tasks]
        random, records, told = numpy_rng("simulated", name), [], {}

        def record(method, task, seed, value, **more):
            kind = "style" if "style" in task else "identity"
            trained = method == "adapter"
            run = Run(
                protocol=1, code="1", method=method, spec=method, objective="plain" if trained else "", base="pocket",
                base_digest="b", task=task, task_digest="d", seed=seed, train=Train() if trained else None,
                sample=Sample(), extractors="e", extractors_digest="e", **more,
            )  # fmt: skip
            scores = {kind: value, "text": 1.0, "drift": 0.1 + 0.1 * value}
            if method == "truth":
                scores["text_mismatch"] = 0.0
            about = Provenance(machine=Machine(cpu="m", workers=2), finished="1")
            return Record(
                key=key(run), run=run, status="ok", scores=scores, provenance=about, cost=Cost(seconds_total=25)
            )

        for _, task, seed in blocks:
            records += [record("base", task, seed, 0.0), record("truth", task, seed, 1.0)]
        for cell in cells(Anova(**factors), list(pairs), blocks, n):
            hyper = {k: getattr(cell, k) for k in ("source", "target", "activation", "scale", "init")} | {"width": 32}
            value = effect(cell) + noise * random.normal()
            made = record("adapter", cell.task, cell.seed, value, lr=cell.lr, hyper=hyper)
            told[made.key] = cell
            records.append(made)
        ways = [{"source": s, "target": t, "size": 32, "width": 32, "scalars": 1000} for s, t in pairs]
        design = {
            "format": 1, "study": "0123456789abcdef", "name": name, "grid": 640, "replicates": [n, 32],
            "factors": {"sizes": "equal"}, "sizes": {"pocket": ways}, "refused": {"pocket": {}},
            "aliases": aliases(list(told.values())), "efficiency": [1.0, 1.0],
            "cells": {k: vars(cell) for k, cell in told.items()},
        }  # fmt: skip
        return records, design

    return study
