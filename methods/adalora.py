"""AdaLoRA: peft's layers, with the penalty, the scores and the pruning done here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import LitmusError, Network, register
from methods._peft import ADAPTER, LINEAR_CONV, Shape, Tuner, shape_of, wrapped
from methods._penalty import orthogonality

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
    allocator reads gradients after the step, when ours are gone. So P, Q and lambda pass through a function here whose
    backward pass notes w g for the scores, summed over the batches of a step; `penalty` is weighed as in peft (mean
    over all P and Q), and `step` prunes. `count` is of the ranks at the start; `reserved` is what is pruned of them,
    and a budget is met by the rest, as in the paper's tables.

    rank    of each weight at the start
    target  mean rank at the end; none means two thirds of rank, the paper's initial budget being 1.5 times the last
    orth    weight of the penalty; peft's, 0.5 (`penalty` in older records)
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
    older = {"penalty": "orth"}
    packable = False  # pruning needs each seed's own backward pass

    rank: int = 12
    target: int | None = None
    alpha: float | None = None
    orth: float = 0.5
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
            layer.seen, layer.scores, layer.pruned = {}, {}, None
            layer.ranknum[ADAPTER].requires_grad_(False)  # a number, which peft makes trainable when it casts it
            layer.forward = MethodType(_adapted, layer)

    def reserved(self, net: Network) -> int:
        return sum((self.rank - self._target()) * (sum(shape_of(x)) + 1) for x in self.layers(net).values())

    def penalty(self, net: Network) -> Tensor | None:
        """orth times the mean over all P and Q of |P^T P - 1|_F and |Q Q^T - 1|_F."""
        layers = [layer for _, layer in wrapped(net.denoiser)]
        if not self.orth or not layers:
            return None
        share = self.orth / (2 * len(layers))
        factors = [factor for x in layers for factor in (x.lora_B[ADAPTER].mT, x.lora_A[ADAPTER])]
        return torch.stack([share * orthogonality(factor) for factor in factors]).sum()

    def step(self, net: Network, i: int, n: int) -> None:
        first, last = round(self.warmup * n), n - max(1, round(self.final * n))
        layers = [layer for _, layer in wrapped(net.denoiser)]
        for layer in layers:
            _score(layer)
        if i > last:
            self.project(net)
        elif first < i and (i == last or i % max(1, round(PAUSE * n)) == 0):
            left = 0.0 if i == last else (1 - (i - first) / (last - first)) ** 3
            kept = len(layers) * (self._target() + (self.rank - self._target()) * left)
            scores = torch.stack([_triplets(layer) for layer in layers])  # (layers, rank)
            out = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
            out[scores.flatten().topk(int(kept)).indices] = False
            for layer, pruned in zip(layers, out.view_as(scores), strict=True):
                layer.pruned = pruned
            self.project(net)

    @torch.no_grad()
    def project(self, net: Network) -> None:
        for _, layer in wrapped(net.denoiser):
            if layer.pruned is not None:
                layer.lora_E[ADAPTER].masked_fill_(layer.pruned[:, None], 0.0)


def _adapted(layer: Any, x: Tensor) -> Tensor:
    p, e, q = layer.lora_B[ADAPTER], layer.lora_E[ADAPTER], layer.lora_A[ADAPTER]  # (out, r), (r, 1), (r, in)
    q = _Watched.apply(q, layer.seen, "q")
    p = _Watched.apply(p.mT, layer.seen, "p").mT
    e = _Watched.apply(e, layer.seen, "e")
    base = layer.base_layer
    y, z, scale = base(x), x.to(q.dtype), layer.scaling[ADAPTER] / layer.r[ADAPTER]
    if base.weight.ndim == 2:
        return y + (F.linear(F.linear(z, q * e), p) * scale).to(y.dtype)
    delta = ((p @ (q * e)) * scale).view_as(base.weight)
    return y + F.conv2d(z, delta, None, base.stride, base.padding, base.dilation, base.groups).to(y.dtype)


class _Watched(torch.autograd.Function):
    """Hands rows w (r, d) through; backward adds w g to what the step has seen under `key`."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, seen: dict[str, Tensor], key: str) -> Tensor:
        ctx.save_for_backward(w)
        ctx.rest = seen, key
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (w,), (seen, key), grad = ctx.saved_tensors, ctx.rest, grads[0]
        now = w * grad
        seen[key] = seen[key] + now if key in seen else now
        return grad, None, None


def _score(layer: Any) -> None:
    """Both moving means of |w g| (r, d), by what the step has seen; it begins anew."""
    for key, total in layer.seen.items():
        now = total.abs().float()
        mean, change = layer.scores.get(key, (torch.zeros_like(now), torch.zeros_like(now)))
        mean = BETA * mean + (1 - BETA) * now
        layer.scores[key] = mean, BETA * change + (1 - BETA) * (now - mean).abs()
    layer.seen.clear()


def _triplets(layer: Any) -> Tensor:
    """Score of each of the layer's triplets (rank,); 0 before the first backward pass."""
    if not layer.scores:
        return layer.lora_E[ADAPTER].new_zeros(layer.r[ADAPTER], dtype=torch.float32)
    return sum((mean * change).mean(1) for mean, change in layer.scores.values())  # type: ignore[return-value]
