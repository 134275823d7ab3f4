"""Cosines between sets of unit features."""

from __future__ import annotations

import numpy as np


def mean_cosine(x: np.ndarray, refs: np.ndarray) -> np.ndarray:
    """Mean cosine (...) of each feature `x` (..., D) to all `refs` (M, D). DreamBooth's DINO / CLIP-I protocol.

    Ruiz et al., arXiv:2208.12242, section 4.2: mean over all pairs of generated and real pictures.
    """
    return x @ refs.mean(axis=0)


def nearest_cosine(x: np.ndarray, refs: np.ndarray) -> np.ndarray:
    """Largest cosine (...) of each feature `x` (..., D) to any of `refs` (M, D)."""
    return (x @ refs.T).max(axis=-1)


def paired_cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosine (...) of each feature `x` (..., D) to its partner in `y` (..., D)."""
    return (x * y).sum(axis=-1)


def per_prompt(values: np.ndarray) -> np.ndarray:
    """(P, n, ...) -> (P, ...): the mean over the pictures of each prompt."""
    return values.mean(axis=1)
