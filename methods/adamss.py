"""AdaMSS, through Hugging Face's peft with a clustering of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.method import Network, register
from methods._peft import Shape, Tuner, shape_of


@register
@dataclass(frozen=True)
class AdaMSS(Tuner):
    """The rows of each weight are clustered in its principal space, and each cluster gets a low-rank change of its own.

    Zheng, Lu, Dong, Ji, Cao, Lin, "AdaMSS: Adaptive Multi-Subspace Approach for Parameter-Efficient Fine-Tuning",
    NeurIPS 2025 (OpenReview 8ZdWmpYxT0); paper not read, as peft's tuner, without its pruning of subspaces. peft
    clusters by scikit-learn's k-means; here by our own, from a fixed seed, so that nothing more need be installed. The
    bias is changed too, where there is one.
    subspaces  clusters of each weight's rows, each with one rank: A (1, rank), B (rows, 1)
    rank       of the principal space; it stops at min(out, in)
    """

    name = "adamss"
    paper = "OpenReview 8ZdWmpYxT0"
    config = "AdamssConfig"
    solid = True
    lr = 5e-3
    space = {"lr": (5e-4, 5e-2, "log"), "subspaces": (1, 64, "log")}
    size_field = "subspaces"
    formula = "(W, b)'[rows of k] = (W, b)[rows of k] + B_k A_k V^T, V the principal directions of (W, b)"

    subspaces: int = 5
    rank: int = 100

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "num_subspaces": self.subspaces}

    def cost(self, layer: Any) -> int:
        out, in_ = shape_of(layer)
        return min(self.subspaces, out) * min(self.rank, out, in_ + (layer.bias is not None)) + out

    def attach(self, net: Network, rng: torch.Generator) -> None:
        with _own_clusters():
            super().attach(net, rng)


@contextmanager
def _own_clusters() -> Iterator[None]:
    from peft.tuners.adamss import layer as module

    theirs = module.clustering_Z
    module.clustering_Z = _clusters
    # peft's configuration tries to import scikit-learn, for that function alone.
    standing_in = find_spec("sklearn") is None
    if standing_in:
        sys.modules["sklearn"] = ModuleType("sklearn")
    try:
        yield
    finally:
        module.clustering_Z = theirs
        if standing_in:
            del sys.modules["sklearn"]


def _clusters(rows: Tensor, wanted: int, steps: int) -> tuple[Tensor, int]:
    """k-means of `rows` (n, d) from randomly chosen rows: (cluster of each row, how many), none of them empty."""
    x = rows.detach().cpu().float().numpy()
    k = min(wanted, len(x))
    centres = x[np.random.default_rng(0).choice(len(x), k, replace=False)]
    nearest = np.arange(len(x)) % k
    for _ in range(steps):
        far = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)  # (n, k) squared distances
        nearest = far.argmin(1)
        for empty in set(range(k)) - set(nearest.tolist()):
            sizes = np.bincount(nearest, minlength=k)
            able = sizes[nearest] > 1
            nearest[np.where(able, far[np.arange(len(x)), nearest], -np.inf).argmax()] = empty
        centres = np.stack([x[nearest == j].mean(0) for j in range(k)])
    return torch.from_numpy(nearest), k
