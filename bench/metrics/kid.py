"""Kernel inception distance for small sets, unbiased, with the band that pure chance gives.

Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, arXiv:1801.01401, section 4: squared MMD under the kernel
k(x, y) = (x·y / D + 1)³. Features here are unit vectors scaled to length √D (entries of mean square 1, as the kernel
expects), so x·y / D is the cosine and k = (cos + 1)³.
"""

from __future__ import annotations

import numpy as np


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k (n, m) of unit features `x` (n, D) and `y` (m, D)."""
    return (x @ y.T + 1) ** 3


def mmd2(k: np.ndarray, n: int) -> float:
    """Unbiased squared MMD between the first `n` items and the rest, from the kernel `k` (n + m, n + m) of all."""
    m = len(k) - n
    xx, yy, xy = k[:n, :n], k[n:, n:], k[:n, n:]
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased KID of unit features `x` (n, D) and `y` (m, D), n, m >= 2; 0 in the mean for equal distributions."""
    return mmd2(kernel(both := np.concatenate([x, y]), both), len(x))


def null_band(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, draws: int = 200, level: float = 0.95) -> float:
    """The KID that chance alone stays below with probability `level`, were both sets from one distribution.

    By permutation: the same pictures, dealt anew into two sets of the same sizes.
    """
    k = kernel(both := np.concatenate([x, y]), both)
    values = []
    for _ in range(draws):
        order = rng.permutation(len(k))
        values.append(mmd2(k[np.ix_(order, order)], len(x)))
    return float(np.quantile(values, level))
