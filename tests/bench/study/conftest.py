"""Records for the study's tests: made by hand with chosen scores, and the stored ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@pytest.fixture(scope="session")
def stored():
    """The stored made-up records of schema 1: seven tasks, six methods, one diverged run."""
    from bench.records.record import Record

    text = (GOLDEN / "records_v1.jsonl").read_text(encoding="utf-8")
    return [Record.model_validate(json.loads(line)) for line in text.splitlines()]


@pytest.fixture
def make():
    """A function: make("lora", task="t", seed=0, concept=0.5, text=0.2, ...) -> a Record with these scores."""
    from bench.protocol.models import UNTRAINED, Sample, Train
    from bench.records.record import Cost, Curve, Machine, Provenance, Record, Run
    from bench.runner.plan import key

    def record(
        method, task="pocket/subject-a", seed=0, lr=1e-3, spec="", objective="plain", status="ok", finished="1",
        machine="m", steps=150, curve=None, cost=None, protocol=1, task_digest="d", **scores,
    ):  # fmt: skip
        trained = method not in UNTRAINED
        run = Run(
            protocol=protocol, code="1", method=method, spec=spec or method, lr=lr if trained else None,
            objective=objective if trained else "", base="pocket", base_digest="b", task=task, task_digest=task_digest,
            seed=seed, train=Train(steps=steps) if trained else None, sample=Sample(), extractors="e",
            extractors_digest="e",
        )  # fmt: skip
        provenance = Provenance(machine=Machine(cpu=machine), finished=finished)
        parts: dict[str, Any] = {
            "curve": Curve(**(curve or {})),
            "cost": Cost(**(cost or {})),
            "provenance": provenance,
        }
        parts |= {"status": status, "scores": scores if status == "ok" else {}}
        return Record(key=key(run), run=run, **parts)

    return record


@pytest.fixture
def block(make):
    """A function: block(task, seed) -> base and truth of a block: concept 0.2 to 0.6, text 0.1 (mismatch) to 0.3."""

    def records(task="pocket/subject-a", seed=0, truth=True):
        out = [make("base", task, seed, concept=0.2, identity=0.2, text=0.25, drift=0.0)]
        if truth:
            out.append(make("truth", task, seed, concept=0.6, identity=0.6, text=0.3, text_mismatch=0.1))
        return out

    return records
