"""AdaLoRA: peft's layers, with the penalty, the scores and the pruning done here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import LitmusError, Network, register
from methods._peft import ADAPTER, LINEAR_CONV, Shape, Tuner, wrapped

BETA = 0.85  # of both moving means: beta_1 and beta_2 of the paper's experiments and of peft
PAUSE = 0.01  # share of the run between two prunings; the paper's Delta T is 10 or 100 of some ten thousand steps


@register
@dataclass(frozen=True)
class AdaLoRA(Tuner):
    """P diag(lambda) Q at each weight, the least important lambdas of the whole network being set to 0 on the way.

    Zhang, Chen, Bukharin, Karampatziakis, He, Cheng, Chen, Zhao, "AdaLoRA: Adaptive Budget Allocation for
    Parameter-Efficient Fine-Tuning", ICLR 2023, arXiv:2303.10512. P and Q start from N(0, 0.02^2), lambda at 0. A
    triplet's score is that of its lambda and the means of those of its column of P and row of Q, each the product of
    two moving means, of |w g| and of its own change. The budget falls by a cubic law. Pruned lambdas still get
    gradients, and may come back until the last pruning.

    peft has the layers, but adds the penalty |P^T P - I|_F + |Q Q^T - I|_F only to models that return a loss, and its
    allocator reads gradients after the step, when ours are gone. So P and Q pass through a function here whose
    backward pass adds the penalty's gradient, weighed as in peft (mean over all P and Q), and takes the scores; and
    `step` prunes. It is added once for each backward pass through the layer.

    rank    of each weight at the start
    target  mean rank at the end; none means two thirds of rank, the paper's initial budget being 1.5 times the last
    penalty weight of the penalty; peft's, 0.5
    warmup  share of the run before the first pruning
    final   share of the run after the last
    """

    name = "adalora"
    paper = "arXiv:2303.10512"
    config = "AdaLoraConfig"
    kinds = LINEAR_CONV
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log"), "rank": (2, 64, "log")}
    size_field = "rank"
    formula = "W' = W + (alpha / rank) P diag(lambda) Q, with penalty |P^T P - I| + |Q Q^T - I|"
    packable = False  # pruning needs each seed's own backward pass

    rank: int = 12
    target: int | None = None
    alpha: float | None = None
    penalty: float = 0.5
    warmup: float = 0.1
    final: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None and not 1 <= self.target <= self.rank:
            raise LitmusError(f"adalora: target is from 1 to rank, {self.rank}, not {self.target}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        alpha = self.rank if self.alpha is None else self.alpha
        return {"init_r": self.rank, "target_r": self._target(), "lora_alpha": alpha, "total_step": 1}

    def _target(self) -> int:
        return max(1, round(self.rank * 2 / 3)) if self.target is None else self.target

    def size(self, shape: Shape) -> int:
        return self.rank * (sum(shape) + 1)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        layers = [layer for _, layer in wrapped(net.denoiser)]
        for layer in layers:
            layer.penalty = self.penalty / (2 * len(layers))
            layer.scores = {}
            layer.ranknum[ADAPTER].requires_grad_(False)  # a number, which peft makes trainable when it casts it
            layer.forward = MethodType(_adapted, layer)

    def step(self, net: Network, i: int, n: int) -> None:
        first, last = round(self.warmup * n), n - max(1, round(self.final * n))
        layers = [layer for _, layer in wrapped(net.denoiser)]
        if i > last:
            for layer in layers:
                _prune(layer, layer.pruned)
        elif first < i and (i == last or i % max(1, round(PAUSE * n)) == 0):
            left = 0.0 if i == last else (1 - (i - first) / (last - first)) ** 3
            kept = len(layers) * (self._target() + (self.rank - self._target()) * left)
            scores = torch.stack([_triplets(layer) for layer in layers])  # (layers, rank)
            out = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
            out[scores.flatten().topk(int(kept)).indices] = False
            for layer, pruned in zip(layers, out.view_as(scores), strict=True):
                _prune(layer, pruned)


def _adapted(layer: Any, x: Tensor) -> Tensor:
    p, e, q = layer.lora_B[ADAPTER], layer.lora_E[ADAPTER], layer.lora_A[ADAPTER]  # (out, r), (r, 1), (r, in)
    q = _Watched.apply(q, layer.scores, "q", layer.penalty)
    p = _Watched.apply(p.mT, layer.scores, "p", layer.penalty).mT
    e = _Watched.apply(e, layer.scores, "e", 0.0)
    base = layer.base_layer
    y, z, scale = base(x), x.to(q.dtype), layer.scaling[ADAPTER] / layer.r[ADAPTER]
    if base.weight.ndim == 2:
        return y + (F.linear(F.linear(z, q * e), p) * scale).to(y.dtype)
    delta = ((p @ (q * e)) * scale).view_as(base.weight)
    return y + F.conv2d(z, delta, None, base.stride, base.padding, base.dilation, base.groups).to(y.dtype)


class _Watched(torch.autograd.Function):
    """Hands rows w (r, d) through; backward takes their scores and adds the gradient of penalty |w w^T - I|_F."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, scores: dict[str, tuple[Tensor, Tensor]], key: str, penalty: float) -> Tensor:
        ctx.save_for_backward(w)
        ctx.rest = scores, key, penalty
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (w,), (scores, key, penalty), grad = ctx.saved_tensors, ctx.rest, grads[0]
        now = (w * grad).abs().float()
        mean, change = scores.get(key, (torch.zeros_like(now), torch.zeros_like(now)))
        mean = BETA * mean + (1 - BETA) * now
        scores[key] = mean, BETA * change + (1 - BETA) * (now - mean).abs()
        if penalty:
            v = w.float()
            off = v @ v.mT - torch.eye(len(v), device=v.device)
            grad = grad + (penalty * 2 / off.norm().clamp_min(1e-12) * (off @ v)).to(grad.dtype)
        return grad, None, None, None


def _triplets(layer: Any) -> Tensor:
    """Score of each of the layer's triplets (rank,); 0 before the first backward pass."""
    if not layer.scores:
        return layer.lora_E[ADAPTER].new_zeros(layer.r[ADAPTER], dtype=torch.float32)
    return sum((mean * change).mean(1) for mean, change in layer.scores.values())  # type: ignore[return-value]


def _prune(layer: Any, pruned: Tensor) -> None:
    layer.pruned = pruned
    with torch.no_grad():
        layer.lora_E[ADAPTER].masked_fill_(pruned[:, None], 0.0)
