"""IncreLoRA: LoRA that starts at rank 1 and grows where the loss is most sensitive.

Zhang, Li, Chen, Jiang, Wang, Qian, "IncreLoRA: Incremental Parameter Allocation Method for Parameter-Efficient
Fine-tuning", arXiv:2308.12043. Delta W = B diag(e) A. A layer's score is sum |Delta W * G| / sqrt(out in),
G the gradient with respect to Delta W, smoothed over steps, times its smoothed unrest (0.85 each); now and then the
layers that score best gain ranks. The next ranks of each layer are in reserve with e = 1e-5, so that their factors
learn in advance. Score, start, reserve, penalty and the ranks gained at a time are those of FeiyuZhang98/IncreLoRA
(loralib/increlora.py at 7cb7830).

What differs. The code grows a given number of layers at given steps; here the number is what meets the mean rank by
the end, since a run here is short and of any length. The code scales by alpha / (ranks now); here by alpha / rank,
since a saved state must not need a rank beside it. Its new ranks join the optimiser when they are born; here they wait
in it. Its penalty holds only ranks born together orthogonal; here all ranks, as in the paper. A layer cannot grow
beyond `room` times the mean. `count` is of all ranks that there is room for; `reserved` is what of it is not in use at
the end, and a budget is met by the rest. Where several batches make a step, the score is the mean of theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import register
from methods._growth import Growth

BETA = 0.85  # of both moving means
RESERVE = 1e-5


@register
@dataclass(frozen=True)
class IncreLoRA(Growth):
    """Train A, e and B of up to room * rank ranks for each weight at `targets`, rank of them in the mean."""

    name = "increlora"
    paper = "arXiv:2308.12043"
    formula = "W' = W + (alpha / rank) B diag(e) A, ranks grow from 1"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return self.factors(w, rng) | {"e": w.new_zeros(self.most)}  # (most,) = 0: the start is the base

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        delta = self.scale * ((theta.b * theta.e) @ theta.a)
        if theta.training and delta.requires_grad:
            delta.register_hook(_scorer(theta, delta.detach()))
        return w + delta

    def ranks(self, out: int, in_: int, ranks: int) -> int:
        return ranks * (out + in_ + 1)

    @torch.no_grad()
    def observe(self, theta: Any) -> None:
        memory = theta.memory
        if (batches := memory.pop("batches", None)) is None:
            return
        now = torch.stack(batches).mean()
        memory["mean"] = BETA * memory.get("mean", 0.0) + (1 - BETA) * now
        memory["unrest"] = BETA * memory.get("unrest", 0.0) + (1 - BETA) * (now - memory["mean"]).abs()

    def chosen(self, able: list[Any], left: int, rounds: int, progress: float) -> list[Any]:
        def score(theta: Any) -> float:
            return float(theta.memory["mean"] * theta.memory["unrest"]) if "mean" in theta.memory else 0.0

        return sorted(able, key=score, reverse=True)[: math.ceil(left / self.gain / rounds)]

    @torch.no_grad()
    def settle(self, theta: Any, growing: bool) -> None:
        theta.e[theta.ranks :] = 0
        if growing:
            theta.e[theta.ranks : theta.ranks + self.gain] = RESERVE


def _scorer(theta: Any, delta: Tensor) -> Any:
    def note(grad: Tensor) -> None:
        # Only put aside: under vmap nothing can be added to what an earlier call has left.
        theta.memory.setdefault("batches", []).append((delta * grad).abs().sum() / math.sqrt(delta.numel()))

    return note
