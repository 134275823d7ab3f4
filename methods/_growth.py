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
from bench.method.reparam import Reparam, normal, thetas

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
        adapted = thetas(net)
        for _, theta in adapted:
            theta.ranks = self.start
            theta.share = self.orth / (2 * len(adapted))  # the penalty is a mean over all factors

    def pulled(self, theta: Any) -> tuple[Tensor, Tensor]:
        """B and A; going back through them adds the penalty's gradient."""
        if not self.orth:
            return theta.b, theta.a
        return Orthogonal.apply(theta.b.T, theta.share).T, Orthogonal.apply(theta.a, theta.share)  # type: ignore[union-attr]

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

    def observe(self, theta: Any) -> None:
        """Called after each step, for scores that build up."""

    def chosen(self, able: list[Any], left: int, rounds: int, progress: float) -> list[Any]:
        """Those of `able` that grow now, best first; `left` ranks may still be given in about `rounds` rounds."""
        raise NotImplementedError

    def settle(self, theta: Any, growing: bool) -> None:
        """Put what is not in use back to 0."""
        raise NotImplementedError


class Orthogonal(torch.autograd.Function):
    """P (r, d) as it is; going back, adds the gradient of `share` * |P P^T - 1|, a Frobenius norm.

    A method has no say in the loss, so the penalty works where its gradient would arrive. It is added once for each
    time that a layer is run and gone back through in a step.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor, share: float) -> Tensor:
        return p.view_as(p)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        p, ctx.share = inputs
        ctx.save_for_backward(p)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (p,) = ctx.saved_tensors
        off = p @ p.mT - torch.eye(p.shape[-2], dtype=p.dtype, device=p.device)
        return grads[0] + ctx.share * 2 * (off @ p) / off.norm().clamp_min(1e-12), None
