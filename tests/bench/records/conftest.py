"""Features of made-up cells."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.rng import numpy_rng
from bench.metrics import Features, Views


def _views(name: str, *lead: int, words: tuple[str, ...] = ("beach", "city")) -> Views:
    r = numpy_rng("views", name)

    def unit(d: int) -> np.ndarray:
        x = r.normal(size=(*lead, d))
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    return Views(unit(24), unit(16), unit(32), {"scene": r.choice(words, size=lead)})


def _cell(kind: str = "subject", heldout: int = 2, row: str = "cell") -> Features:
    texts = _views("texts", 3).image
    return Features(
        kind=kind,
        plain=("a dog", "a cat", "a cup"),
        asks=({"scene": "beach"}, {}, {"scene": "snow"}),
        texts=texts,
        cell=_views(row, 3, 2),
        train=_views("train", 4),
        heldout=_views("heldout", heldout),
        base_cell=_views("base", 3, 2),
        prior=_views("prior", 2, 2),
        base_prior=_views("base prior", 2, 2),
        truth=_views("truth", 3, 2, words=("snow", "beach", "forest")),
        loss_train=0.123456789012345,
    )


@pytest.fixture(scope="session")
def cell():
    """A function: cell(kind="subject", heldout=2, row="cell") -> Features of a row, the same for the same words."""
    return _cell
