"""Kernel inception distance for small sets, unbiased, with the band that pure chance gives.

Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, arXiv:1801.01401, section 4: squared MMD under the kernel
k(x, y) = (x·y / D + 1)³. Features here are unit vectors scaled to length √D (entries of mean square 1, as the kernel
expects), so x·y / D is the cosine and k = (cos + 1)³.

Both of our sets are drawn for the same prompts, and pictures of one prompt are alike. Were they compared as loose
sets, the pairs of one prompt between the sets would make every method look nearer than chance allows (truth itself
came out at -0.28 on the pocket world). So pairs of one prompt, its group, are left out within and between the sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.base import INF, Metric, Score, register
from bench.metrics.features import Features


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k (n, m) of unit features `x` (n, D) and `y` (m, D)."""
    return (x @ y.T + 1) ** 3


def mmd2(k: np.ndarray, n: int, pairs: np.ndarray) -> float:
    """Unbiased squared MMD between the first `n` items and the rest.

    k (N, N) is the kernel of all items, `pairs` (N, N) says which pairs count.
    """

    def mean(rows: slice, columns: slice) -> float:
        return float(k[rows, columns][pairs[rows, columns]].mean())

    first, rest = slice(None, n), slice(n, None)
    return mean(first, first) + mean(rest, rest) - 2 * mean(first, rest)


def _pairs(n: int, m: int, groups: np.ndarray | None) -> np.ndarray:
    """Which pairs count: not an item with itself, nor two of one group."""
    return ~np.eye(n + m, dtype=bool) if groups is None else groups[:, None] != groups[None]


def kid(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Unbiased KID of unit features `x` (n, D) and `y` (m, D): 0 in the mean for equal distributions.

    `groups` (n + m,) names the prompt of each item; None: loose sets, n, m >= 2. Otherwise at least two groups.
    """
    both = np.concatenate([x, y])
    return mmd2(kernel(both, both), len(x), _pairs(len(x), len(y), groups))


def null_band(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    draws: int = 200,
    level: float = 0.95,
) -> float:
    """The KID that chance alone stays below with probability `level`, were both sets from one distribution.

    By permutation: the same pictures, dealt anew into two sets of the same sizes, prompt by prompt.
    """
    both = np.concatenate([x, y])
    k, pairs = kernel(both, both), _pairs(len(x), len(y), groups)
    labels = np.zeros(len(k)) if groups is None else groups
    home = np.argsort(labels, kind="stable")
    values = []
    for _ in range(draws):
        order = np.empty(len(k), int)
        order[home] = np.lexsort((rng.random(len(k)), labels))  # each group's places, filled from the group anew
        values.append(mmd2(k[np.ix_(order, order)], len(x), pairs))
    return float(np.quantile(values, level))


def sets(f: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Features of the cell and of the truth, and the prompt of each; None where there is nothing to compare."""
    if f.truth is None or len(f.plain) < 2:
        return None
    both = f.cell.image, f.truth.image  # (P, n, D), (P, K, D)
    if both[0].shape == both[1].shape and np.array_equal(*both):
        return None  # the row truth_raw: a set against itself says nothing
    groups = np.concatenate([np.repeat(np.arange(len(x)), x.shape[1]) for x in both])
    return both[0].reshape(-1, both[0].shape[-1]), both[1].reshape(-1, both[1].shape[-1]), groups


@register
@dataclass(frozen=True)
class Kid(Metric):
    name = "kid"
    title = "KID"
    definition = "unbiased kernel distance to the truth pictures across prompts, kernel (cos + 1)³; may be below 0"
    unit = "squared MMD"
    bounds = (-INF, INF)
    higher_is_better = False
    source = "arXiv:1801.01401, section 4, without the pairs of one prompt"
    order = 180
    digits = 3

    def score(self, f: Features) -> Score:
        found = sets(f)
        return kid(*found) if found else None
