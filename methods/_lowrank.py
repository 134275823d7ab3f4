"""LoRA's relatives in peft: what those have in common that go through its LoraConfig or one like it.

A start that is cut out of the weight (PiSSA, OLoRA, CorDA, LoRA-GA) changes the base layer too, W -> W - (alpha / rank)
B A, so that the network starts where the base is; what is cut out is made again from the base, so the trained factors
are all that is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from methods._peft import LINEAR, Shape, Tuner


@dataclass(frozen=True)
class LowRankTuner(Tuner):
    """W' = W + scale B A with A (rank, in), B (out, rank), through peft's LoraConfig.

    alpha  none means alpha = rank
    """

    lr = 2e-3
    config = "LoraConfig"
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "W' = W + (alpha / rank) B A"

    rank: int = 4
    alpha: float | None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.fitting(shape), "lora_alpha": self.rank if self.alpha is None else self.alpha}

    def fitting(self, shape: Shape) -> int:
        """The rank that this weight gets."""
        return self.rank

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * sum(shape)


@dataclass(frozen=True)
class Cut(LowRankTuner):
    """A start out of a decomposition of W, which has no more than min(out, in) parts: there the rank stops."""

    kinds = LINEAR

    def fitting(self, shape: Shape) -> int:
        return min(self.rank, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        rank = self.fitting(shape)
        return {"r": rank, "lora_alpha": rank if self.alpha is None else self.alpha * rank / self.rank}
