"""Low-rank methods whose ranks grow while they train: room for the ranks is there from the start, empty ranks are 0.

A layer owns factors of rank `room` * `rank`, of which it uses `theta.ranks`, at first `start`. What does not yet work
holds 0 in the tensor between the factors, and is put back to 0 after each step. So a state on disk says by itself which
ranks are in use: no mask has to be saved, and a network that reads it computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, Network
from bench.method.reparam import Reparam, flat, normal, thetas
from methods._penalty import orthogonality

STD = 0.02  # of both factors at the start


@dataclass(frozen=True)
class Growth(Reparam):
    """The family. `rank` is the mean rank over the layers that growth ends at.

    start   rank that each layer begins with
    room    no layer grows beyond room * rank
    warmup  share of the steps before the first growth
    every   share of the steps between two growths
    alpha   scales the product by alpha / rank; none means alpha = rank, a factor of 1
    orth    weight of the penalty that keeps each factor's ranks orthogonal; 0 leaves it out
    """

    rank: int = 4
    start: int = 1
    room: int = 2
    warmup: float = 0.1
    every: float = 0.05
    alpha: float | None = None
    orth: float = 0.1

    def __post_init__(self) -> None:
        for key in ("rank", "start", "room"):
            if getattr(self, key) < 1:
                raise LitmusError(f"{self.name}: {key} is at least 1, not {getattr(self, key)}")
        if self.start > self.rank * self.room:
            raise LitmusError(f"{self.name}: start is at most room * rank, {self.rank * self.room}, not {self.start}")
        if not (0 <= self.warmup < 1 and 0 < self.every <= 1):
            raise LitmusError(f"{self.name}: warmup and every are shares of the run, not {self.warmup}, {self.every}")

    @property
    def most(self) -> int:
        """Ranks that a layer has room for."""
        return self.room * self.rank

    @property
    def gain(self) -> int:
        """Ranks that a layer grows by: 1, 2, 3, 4 for a mean of 2, 4, 6, 8, as in the authors' code."""
        return max(1, self.rank // 2)

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def factors(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """A (most, in) and B (out, most)."""
        return {"a": normal((self.most, w.shape[1]), STD, rng, w), "b": normal((len(w), self.most), STD, rng, w)}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, theta in thetas(net):
            theta.ranks = self.start

    def ranks(self, out: int, in_: int, ranks: int) -> int:
        """Trained scalars of `ranks` ranks at one weight (out, in)."""
        raise NotImplementedError

    def size(self, out: int, in_: int) -> int:
        return self.ranks(out, in_, self.most)

    def reserved(self, net: Network) -> int:
        """The room above the mean rank: what each layer ends with is known only then, their mean before."""
        shapes = [tuple(flat(layer.weight).shape) for layer in self.layers(net).values()]
        return sum(self.size(out, in_) - self.ranks(out, in_, self.rank) for out, in_ in shapes)

    def penalty(self, net: Network) -> Tensor | None:
        """orth times the mean over all factors P, B^T and A alike, of |P P^T - 1|_F."""
        found = [theta for _, theta in thetas(net)]
        if not self.orth or not found:
            return None
        share = self.orth / (2 * len(found))
        each = [share * orthogonality(factor) for theta in found for factor in (theta.b.T, theta.a)]
        return torch.stack(each).sum()

    def step(self, net: Network, i: int, n: int) -> None:
        found = [theta for _, theta in thetas(net)]
        for theta in found:
            self.observe(theta)
        left = self.rank * len(found) - sum(theta.ranks for theta in found)
        first, every = round(self.warmup * n), max(1, round(self.every * n))
        if left > 0 and i >= first and (i - first) % every == 0:
            able = [theta for theta in found if theta.ranks < self.most]
            rounds = max(1, (n - 1 - i) // every)
            for theta in self.chosen(able, left, rounds, (i - first) / max(1, n - first)):
                more = min(self.gain, left, self.most - theta.ranks)
                theta.ranks += more
                left -= more
        for theta in found:
            self.settle(theta, growing=left > 0 and i < n - 1)

    def project(self, net: Network) -> None:
        for _, theta in thetas(net):
            self.settle(theta, growing=False)

    def observe(self, theta: Any) -> None:
        """Called after each step, for scores that build up."""

    def chosen(self, able: list[Any], left: int, rounds: int, progress: float) -> list[Any]:
        """Those of `able` that grow now, best first; `left` ranks may still be given in about `rounds` rounds."""
        raise NotImplementedError

    def settle(self, theta: Any, growing: bool) -> None:
        """Put what is not in use back to 0."""
        raise NotImplementedError
