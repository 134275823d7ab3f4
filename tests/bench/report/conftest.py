"""A board's folder with made-up records and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PROMPTS = ["a sks robot in the forest", "a sks robot on the beach", "a <b>sks</b> robot, ink drawing"]


@pytest.fixture(scope="session")
def stored():
    """The stored made-up records of schema 1: seven tasks, six methods, one diverged run."""
    from bench.records.record import Record

    text = (GOLDEN / "records_v1.jsonl").read_text(encoding="utf-8")
    return [Record.model_validate(json.loads(line)) for line in text.splitlines()]


@pytest.fixture(scope="session")
def few(stored):
    """A small board of them: a subject and a style, all rows."""
    return [r for r in stored if r.run.task in ("pocket/subject-robot-a", "pocket/style-knit-a")]


@pytest.fixture(scope="session")
def lay(tmp_path_factory):
    """A function: lay(records) -> the folder of a board that holds them, with pictures and prompts."""
    import numpy as np
    from PIL import Image

    from bench.records.record import write

    def build(records, name="quick", pictures=True) -> Path:
        folder = tmp_path_factory.mktemp("board") / name
        for i, r in enumerate(records):
            write(r, folder / "runs")
            if pictures and r.files:
                pixels = np.random.default_rng(i).integers(0, 256, (16, 16 * len(PROMPTS), 3), np.uint8)
                Image.fromarray(pixels).save(folder / "runs" / r.files["grid"])
                (folder / "runs" / r.files["prompts"]).write_text(json.dumps({"prompts": PROMPTS, "metrics": {}}))
        return folder

    return build
