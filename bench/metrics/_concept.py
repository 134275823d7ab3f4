"""The concept's cosines: what `concept`, `identity`, `style` and the held-out ones share."""

from __future__ import annotations

import numpy as np

from bench.metrics._cosine import mean_cosine, per_prompt
from bench.metrics.features import Features


def to_training(f: Features) -> np.ndarray:
    """Mean cosine (P,) to the training pictures, in the space that the task's kind is about."""
    return per_prompt(mean_cosine(f.cell.concept(f.kind), f.train.concept(f.kind)))


def to_heldout(f: Features) -> np.ndarray | None:
    """The same (P,) to the held-out pictures; None where there are none."""
    refs = f.heldout.concept(f.kind)
    return per_prompt(mean_cosine(f.cell.concept(f.kind), refs)) if len(refs) else None
