"""LoRA's relatives in peft: other scales, other starts, other factors. Imported by methods/hub.py.

`lora` itself is methods/lora.py. A start that is cut out of the weight (PiSSA, OLoRA, CorDA, LoRA-GA) changes the base
layer too, W -> W - (alpha / rank) B A, so that the network starts where the base is; what is cut out is made again
from the base, so the trained factors are all that is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import LINEAR, LINEAR_CONV, Shape, Tuner


@dataclass(frozen=True)
class LowRank(Tuner):
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
class Cut(LowRank):
    """A start out of a decomposition of W, which has no more than min(out, in) parts: there the rank stops."""

    kinds = LINEAR

    def fitting(self, shape: Shape) -> int:
        return min(self.rank, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        rank = self.fitting(shape)
        return {"r": rank, "lora_alpha": rank if self.alpha is None else self.alpha * rank / self.rank}


@register
@dataclass(frozen=True)
class RsLoRA(LowRank):
    """LoRA scaled by alpha / sqrt(rank), so that the product does not shrink as the rank grows.

    Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv:2312.03732, section 3.
    alpha  none means alpha = sqrt(rank), a factor of 1 as in `lora`; at a given alpha the two part
    """

    name = "rslora"
    paper = "arXiv:2312.03732, section 3"
    formula = "W' = W + (alpha / sqrt(rank)) B A"
    kinds = LINEAR_CONV

    alpha: float | None = 4.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "lora_alpha": math.sqrt(self.rank) if self.alpha is None else self.alpha} | {
            "use_rslora": True
        }


@register
@dataclass(frozen=True)
class DoRA(LowRank):
    """Direction and size of each weight's rows apart: LoRA moves the direction, a trained vector m (out,) the size.

    Liu, Wang, Yin, Molchanov, Wang, Cheng, Chen, "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024,
    arXiv:2402.09353, section 4.1. m starts as the rows' norms; the norm below the fraction is held constant in the
    gradient (section 4.3).
    """

    name = "dora"
    paper = "arXiv:2402.09353, section 4.1"
    formula = "W' = m (W + s B A) / |W + s B A|, norms over each output's row"
    kinds = LINEAR_CONV

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"use_dora": True}

    def size(self, shape: Shape) -> int:
        return super().size(shape) + shape[0]


@register
@dataclass(frozen=True)
class PiSSA(Cut):
    """LoRA that starts as the largest singular parts of W, the rest of W being frozen.

    Meng, Wang, Zhang, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    NeurIPS 2024, arXiv:2404.02948, section 3. The rank stops at min(out, in).
    """

    name = "pissa"
    paper = "arXiv:2404.02948, section 3"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - B0 A0) + B A; B0 A0 = U_r S_r V_r^T of W"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "pissa"}


@register
@dataclass(frozen=True)
class OLoRA(Cut):
    """LoRA that starts as the first columns of Q and rows of R, W = Q R, the rest of W being frozen.

    Buyukakyuz, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", 2024, arXiv:2406.01775, section 3.
    The rank stops at min(out, in).
    """

    name = "olora"
    paper = "arXiv:2406.01775, section 3"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - s B0 A0) + s B A; B0 = Q[:, :r], A0 = R[:r] of W = Q R"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "olora"}


@register
@dataclass(frozen=True)
class MiCA(Cut):
    """LoRA whose B is frozen at the left singular vectors of W's smallest singular values; A starts at 0.

    "Minor Component Adaptation", arXiv:2604.01694; paper not read, as peft's `mica` start. The rank stops at
    min(out, in).
    """

    name = "mica"
    paper = "arXiv:2604.01694"
    formula = "W' = W + s U_minor A"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "mica"}

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * shape[1]
