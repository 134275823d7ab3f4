"""How different pictures are from each other. Never rank by it alone: a diverged model wins."""

from __future__ import annotations

import numpy as np


def vendi(x: np.ndarray) -> float:
    """Vendi score in [1, n] of unit features `x` (n, D): the effective number of different pictures.

    Friedman & Dieng, "The Vendi Score", TMLR 2023, arXiv:2210.02410, eq. 2: exp of the entropy of the eigenvalues of
    the cosine kernel divided by n.
    """
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def pairwise_distance(x: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of unit features `x` (n, D), n >= 2; in [0, 2]."""
    n = len(x)
    return float(1 - ((x @ x.T).sum() - np.square(x).sum()) / (n * (n - 1)))
