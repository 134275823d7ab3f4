"""How different the pictures of a cell are from each other. Never rank by it alone: a diverged model wins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features


def vendi(x: np.ndarray) -> float:
    """Vendi score in [1, n] of unit features `x` (n, D): the effective number of different pictures.

    Friedman & Dieng, "The Vendi Score", TMLR 2023, arXiv:2210.02410, eq. 2: exp of the entropy of the eigenvalues of
    the cosine kernel divided by n.
    """
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


@register
@dataclass(frozen=True)
class Diversity(Metric):
    name = "diversity"
    title = "diversity"
    definition = "Vendi score of all pictures of the cell: the effective number of different ones"
    unit = "pictures"
    bounds = (1.0, INF)
    higher_is_better = None
    source = "arXiv:2210.02410, eq. 2"
    order = 150
    table = "main"
    drop = 9
    brief = True

    def score(self, f: Features) -> Score:
        return vendi(f.cell.image.reshape(-1, f.cell.image.shape[-1]))
