"""`litmus score`: what it says of the frozen base's pictures, which are kept from one call to the next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.evaluation import references
from bench.interop import scoring
from bench.interop.facts import Facts
from bench.protocol.models import Sample


@pytest.fixture
def tuned(toy_base, tmp_path):
    file = tmp_path / "rex.safetensors"
    file.write_bytes(b"")
    return SimpleNamespace(base=toy_base.fork(), frozen=toy_base, file=file, facts=Facts(), kind="litmus")


def test_pictures_are_called_kept_only_where_they_are(tuned, toy_task, toy_extractors, tmp_path):
    references._block.cache_clear()
    said: list[str] = []
    for _ in range(2):
        scoring.score(
            tuned, toy_task, toy_extractors, Sample(steps=1, per_prompt=1), [0, 1], tmp_path / "out", said.append
        )
    assert ["kept" in line for line in said] == [False, False, True, True]
