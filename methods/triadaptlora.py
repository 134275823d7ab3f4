"""TriAdaptLoRA: LoRA with a square matrix between its factors, which grows by a row and a column at a time.

Liang, Wang, Zeng, "TriAdaptLoRA: Brain-Inspired Triangular Adaptive Low-Rank Adaptation for Parameter-Efficient
Fine-Tuning", arXiv:2501.08008. Delta W = B (L + U) A with L lower and U upper triangular, both with the diagonal: a
new rank adds a row to L and a column to U and leaves what has been learned in place. A layer's score is what |L + U|
divided by the number of its growths has gained since the last look; the layers above a threshold grow, and the
threshold is such that their number is the ranks still to be given, times the share of the run that is over ("linear").

The paper was not at hand in full: form, score and threshold are those of the first author's code
(YaoLiang2023/DiverValue-Bench, peft/tuners/triadaptlora.py at 3be7773). There B, L and U all start at 0, a point that
no gradient leaves; here A and B start as N(0, 0.02^2) and L and U at 0, as in its kin AdaLoRA and IncreLoRA. It scales
by alpha / (ranks now), here alpha / rank, and a layer cannot grow beyond `room` times the mean: see increlora.
`count` is of all ranks that there is room for, `reserved` of those beyond the mean rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import register
from methods._growth import Growth


@register
@dataclass(frozen=True)
class TriAdaptLoRA(Growth):
    """Train A, B and the two triangles of up to room * rank ranks for each weight at `targets`."""

    name = "triadaptlora"
    paper = "arXiv:2501.08008"
    formula = "W' = W + (alpha / rank) B (L + U) A, ranks grow from 1"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"

    orth: float = 0.5

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        entries = self.most * (self.most + 1) // 2
        # Packed row by row: the first k (k + 1) / 2 entries are the triangle of the first k ranks. U is kept as U^T.
        return self.factors(w, rng) | {"lower": w.new_zeros(entries), "upper": w.new_zeros(entries)}

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        return w + self.scale * (theta.b @ (self.middle(theta) @ theta.a))

    def middle(self, theta: Any) -> Tensor:
        """L + U (most, most)."""
        row, column = torch.tril_indices(self.most, self.most, device=theta.lower.device)
        zeros = torch.zeros(self.most**2, dtype=theta.lower.dtype, device=theta.lower.device)
        lower = zeros.scatter(0, row * self.most + column, theta.lower)
        upper = zeros.scatter(0, column * self.most + row, theta.upper)
        return (lower + upper).unflatten(0, (self.most, self.most))

    def ranks(self, out: int, in_: int, ranks: int) -> int:
        return ranks * (out + in_) + ranks * (ranks + 1)

    @torch.no_grad()
    def chosen(self, able: list[Any], left: int, rounds: int, progress: float) -> list[Any]:
        gained: dict[int, float] = {}
        for i, theta in enumerate(able):
            growths = 1 + -(-(theta.ranks - self.start) // self.gain)
            now = self.middle(theta).norm().item() / growths
            gained[i] = now - theta.memory.get("last", 0.0)
            theta.memory["last"] = now
        order = sorted(gained, key=lambda i: gained[i], reverse=True)
        return [able[i] for i in order[: max(1, int(left * progress))]]

    @torch.no_grad()
    def settle(self, theta: Any, growing: bool) -> None:
        used = theta.ranks * (theta.ranks + 1) // 2
        theta.lower[used:] = 0
        theta.upper[used:] = 0
