"""What a metric sees: features of a cell's pictures, of the task's own pictures and of the frozen base's. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Views:
    """Unit features of pictures, (..., D) each, and per attribute the name that the classifier saw, (...).

    The leading axes are (P, n) for n pictures of each of P prompts, (N,) for a plain set.
    """

    identity: np.ndarray
    style: np.ndarray
    image: np.ndarray
    seen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def concept(self, kind: str) -> np.ndarray:
        """The features that a task of this kind is about."""
        return self.identity if kind == "subject" else self.style


@dataclass(frozen=True)
class Features:
    """One cell, in its block.

    cell, prior, drift                 pictures of the row: (P, n), (Q, n), (R, n); prior and drift None for truth
    base_cell, base_prior, base_drift  those of the frozen base: same prompts, same noise
    train, heldout                     the task's own pictures: (N,), (M,) with M maybe 0
    truth                              truth pictures as drawn: (P, K), None where the task has none
    texts                              (P, D) of the plain prompts, in the space of `image`
    plain                              the P plain prompts; asks: what each asks for
    loss_train, loss_heldout           on the fixed table after training; None where nothing was measured
    """

    kind: str
    plain: tuple[str, ...]
    asks: tuple[Mapping[str, str], ...]
    texts: np.ndarray
    cell: Views
    train: Views
    heldout: Views
    base_cell: Views
    prior: Views | None = None
    drift: Views | None = None
    base_prior: Views | None = None
    base_drift: Views | None = None
    truth: Views | None = None
    loss_train: float | None = None
    loss_heldout: float | None = None
