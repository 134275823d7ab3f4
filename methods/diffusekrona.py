"""DiffuseKronA: W' = W + sum of A (x) B, a Kronecker product in place of LoRA's product.

Marjit, Singh, Mathur, Paul, Yu, Chen, "DiffuseKronA: A Parameter Efficient Fine-tuning Method for Personalized
Diffusion Models", WACV 2025, arXiv:2402.17412. Defaults a1 = 64, a2 = 8, the start of both factors and the
rate are those of IBM/DiffuseKronA (krona.py at eb17309). Its forward permutes indices differently from the Kronecker
product of the paper; here it is the paper's, so that merging adds kron(A, B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, register
from bench.method.reparam import Reparam, apply, flat, normal


@register
@dataclass(frozen=True)
class DiffuseKronA(Reparam):
    """Add `terms` Kronecker products of A (a1, a2) and B (out / a1, in / a2) to each weight at `targets`.

    a1, a2  where one does not divide its width, the next smaller number that does
    terms   the paper has 1; more of them are ours, so that a budget can be met
    """

    name = "diffusekrona"
    paper = "arXiv:2402.17412"
    formula = "W' = W + A (x) B"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "terms": (1, 32, "log")}
    size_field = "terms"

    a1: int = 64
    a2: int = 8
    terms: int = 1

    def __post_init__(self) -> None:
        for key in ("a1", "a2", "terms"):
            if getattr(self, key) < 1:
                raise LitmusError(f"diffusekrona: {key} is at least 1, not {getattr(self, key)}")

    def shapes(self, out: int, in_: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of A and B for a weight (out, in)."""
        a1, a2 = _divisor(out, self.a1), _divisor(in_, self.a2)
        return (a1, a2), (out // a1, in_ // a2)

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        a, b = self.shapes(*w.shape)
        return {
            "a": normal((self.terms, *a), 1 / self.a1, rng, w),  # (n, a1, a2)
            "b": w.new_zeros(self.terms, *b),  # (n, out / a1, in / a2) = 0: the start is the base
        }

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        # kron(A, B)[p b1 + r, q b2 + s] = A[p, q] B[r, s]
        product = theta.a[:, :, None, :, None] * theta.b[:, None, :, None, :]  # (n, a1, b1, a2, b2)
        return w + product.sum(0).reshape(w.shape)

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            return super().forward(layer, x, theta)
        parts = x.unflatten(-1, (theta.a.shape[2], theta.b.shape[2]))  # (..., a2, b2)
        delta = torch.einsum("npq,...qs,nrs->...pr", theta.a, parts, theta.b)
        return apply(layer, x, flat(layer.weight), layer.bias) + delta.flatten(-2)

    def size(self, out: int, in_: int) -> int:
        (a1, a2), (b1, b2) = self.shapes(out, in_)
        return self.terms * (a1 * a2 + b1 * b2)


def _divisor(width: int, most: int) -> int:
    return next(n for n in range(min(most, width), 0, -1) if width % n == 0)
