"""The penalty that keeps the rows of a factor orthogonal, as AdaLoRA, IncreLoRA and TriAdaptLoRA have it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def orthogonality(p: Tensor) -> Tensor:
    """|P P^T - 1|_F of P (r, d), a scalar in float32 or wider; its gradient is 0 where torch's own would be nan."""
    return _Orthogonality.apply(p.to(torch.promote_types(p.dtype, torch.float32)))  # type: ignore[return-value]


def _off(p: Tensor) -> Tensor:
    return p @ p.mT - torch.eye(p.shape[-2], dtype=p.dtype, device=p.device)


class _Orthogonality(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor) -> Tensor:
        return _off(p).norm()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        off = _off(p)
        return grads[0] * 2 * (off @ p) / off.norm().clamp_min(1e-12)
