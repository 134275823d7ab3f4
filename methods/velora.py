"""VeLoRA: peft's layers, with a gradient of our own that is the same in both modes and can be packed."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import LitmusError, Network, register
from methods._lowrank import LowRankTuner
from methods._peft import ADAPTER, LINEAR, Shape, wrapped


@register
@dataclass(frozen=True)
class VeLoRA(LowRankTuner):
    """LoRA that keeps one number for each piece of A's inputs, and makes A's gradient from these.

    Miles, Reddy, Elezi, Deng, "VeLoRA: Memory Efficient Training using Rank-1 Sub-Token Projections", NeurIPS 2024,
    arXiv:2405.17991. The function is LoRA's, the gradient of A an approximation. Each piece is projected on the mean
    of all pieces in the batch, peft's default basis. peft does so in training mode alone and keeps the basis in a
    buffer; here it is done in both modes and kept nowhere. Pieces of one input lose nothing: on layers no wider than
    `pieces` this is LoRA.
    pieces  into which each input is cut
    """

    name = "velora"
    paper = "arXiv:2405.17991"
    formula = "W' = W + (alpha / rank) B A; dL/dA from x ~ (x . v) v in each piece of x, v their mean, |v| = 1"
    kinds = LINEAR

    pieces: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces < 1:
            raise LitmusError(f"velora: pieces is at least 1, not {self.pieces}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"velora_config": {"num_groups": min(self.pieces, shape[1])}}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):
            layer.forward = MethodType(_kept, layer)


def _kept(layer: Any, x: Tensor) -> Tensor:
    a, y = layer.lora_A[ADAPTER].weight, layer.base_layer(x)
    z = x.to(a.dtype)
    h, *_ = _Kept.apply(z, a, layer.lora_velora_num_groups[ADAPTER])
    return y + (layer.lora_B[ADAPTER](h) * layer.scaling[ADAPTER]).to(y.dtype)


class _Kept(torch.autograd.Function):
    """x (..., in), A (r, in) -> A x (..., r); backward has one number for each of x's pieces, and their basis v."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, a: Tensor, pieces: int) -> tuple[Tensor, Tensor, Tensor]:
        length = -(-x.shape[-1] // pieces)
        cut = F.pad(x, (0, pieces * length - x.shape[-1])).unflatten(-1, (pieces, length))
        mean = cut.flatten(0, -2).mean(0)
        norm = mean.norm()
        v = torch.where(norm > 0, mean / norm.clamp_min(1e-30), length**-0.5)
        return F.linear(x, a), cut @ v, v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:], inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *saved, a = ctx.saved_tensors  # once: checkpointing gives them out once
        numbers, v, grad = (t.to(a.dtype) for t in (*saved, grads[0]))  # autocast made them narrow
        x = (numbers[..., None] * v).flatten(-2)[..., : a.shape[-1]]
        return grad @ a, grad.flatten(0, -2).mT @ x.flatten(0, -2), None
