"""LoRA-GA: LoRA through Hugging Face's peft, with a start of our own from gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.method import Loss, Network, register
from methods._informed import Informed, cut
from methods._peft import ADAPTER, Shape, drawn_from, wrapped


@register
@dataclass(frozen=True)
class LoRAGA(Informed):
    """LoRA that starts along the gradient of the weight, so that its first step is that of full fine-tuning.

    Wang, Yu, Li, "LoRA-GA: Low-Rank Adaptation with Gradient Approximation", NeurIPS 2024, arXiv:2407.05000.
    A are the first r right singular vectors of the gradient, B the next r left ones times their singular values, times
    out^(1/4) / sqrt(gamma), peft's defaults (ArB2r, stable). The rank stops at half of min(out, in).
    """

    name = "lora_ga"
    data_bound = True  # B0 A0 is taken from W and kept nowhere
    paper = "arXiv:2407.05000"
    formula = "W' = (W - s B0 A0) + s B A; A0, B0 from the singular vectors of dL/dW"

    gamma: float = 16.0

    def fitting(self, shape: Shape) -> int:
        return max(1, min(self.rank, min(shape) // 2))

    def attach_data(self, net: Network, rng: torch.Generator, losses: Sequence[Loss]) -> None:
        self.attach(net, rng)
        layers = [layer for _, layer in wrapped(net.denoiser)]
        weights = [layer.get_base_layer().weight.requires_grad_(True) for layer in layers]
        with torch.enable_grad():
            for loss in losses:
                for w, grad in zip(weights, torch.autograd.grad(loss(net), weights), strict=True):
                    w.grad = grad if w.grad is None else w.grad + grad
        with drawn_from(rng):  # torch.svd_lowrank starts from a random matrix
            for layer, w in zip(layers, weights, strict=True):
                r = layer.r[ADAPTER]
                u, s, v = torch.svd_lowrank(w.grad.float() / len(losses), q=min(4 * r, *w.shape), niter=4)
                w.requires_grad_(False).grad = None
                cut(layer, v[:, :r].mT, u[:, r : 2 * r] * s[r : 2 * r] * len(w) ** 0.25 / self.gamma**0.5)
