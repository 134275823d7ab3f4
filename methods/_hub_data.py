"""LoRA with starts computed from batches of the task's pictures. Imported by methods/hub.py.

Without data each starts as LoRA does, which also is what a stored state is loaded into. EVA moves only A, which is
trained and stored. CorDA and LoRA-GA also cut their start out of the base's weight, so their state fits a network that
was attached with the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.method import Network, register
from methods._hub_lora import Cut
from methods._hub_product import one_of
from methods._peft import ADAPTER, Shape, drawn_from, wrapped

if TYPE_CHECKING:
    from bench.method import Loss

DAMP = 0.01  # of the mean eigenvalue, added to CorDA's covariance before it is inverted; doubled until that goes well
ERROR = 0.05  # largest |C C^-1 - I| that goes well; both as in the authors' code and in peft


@dataclass(frozen=True)
class Informed(Cut):
    """LoRA whose start looks at data; the rank stops at min(out, in)."""

    needs_data = True


@register
@dataclass(frozen=True)
class EVA(Informed):
    """LoRA whose A starts as the directions in which each layer's inputs vary most.

    Paischer, Hauzenberger, Schmied, Alkin, Deisenroth, Hochreiter, "Parameter Efficient Fine-tuning via Explained
    Variance Adaptation", NeurIPS 2025, arXiv:2410.07170, section 3.2 ("One Initialization to Rule them All" in earlier
    versions). A are the right singular vectors of all inputs together, by the eigenvectors of their second moments; the
    paper finds them step by step. Its moving of ranks between layers is left out, since the count would hang on the
    data.
    """

    name = "eva"
    paper = "arXiv:2410.07170, section 3.2"
    formula = "W' = W + (alpha / rank) B A, A = the first right singular vectors of the inputs"

    def attach_data(self, net: Network, rng: torch.Generator, losses: Sequence[Loss]) -> None:
        self.attach(net, rng)
        layers = dict(wrapped(net.denoiser))
        moments = _moments(net, {path: layer.get_base_layer() for path, layer in layers.items()}, losses)
        for path, layer in layers.items():
            a = layer.lora_A[ADAPTER].weight
            vectors = torch.linalg.eigh(moments[path])[1]  # columns, smallest eigenvalue first
            with torch.no_grad():
                a.copy_(vectors.flip(1)[:, : len(a)].mT)


@register
@dataclass(frozen=True)
class CorDA(Informed):
    """LoRA that starts as the singular parts of W that matter most, or least, for the inputs seen.

    Yang, Li, Zhou, Song, Wu, Nie, Ghanem, "CorDA: Context-Oriented Decomposition Adaptation of Large Language Models
    for Task-Aware Parameter-Efficient Fine-tuning", NeurIPS 2024, arXiv:2406.05223.
    mode  ipm: the parts with the largest singular values are trained (instruction-previewed); kpm: those with the
          smallest (knowledge-preserved)
    """

    name = "corda"
    data_bound = True  # B0 A0 is taken from W and kept nowhere
    paper = "arXiv:2406.05223"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - s B0 A0) + s B A; B0 A0 = r parts of SVD(W C) C^-1, C the inputs' covariance"

    mode: str = "ipm"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "mode", ("ipm", "kpm"))

    def attach_data(self, net: Network, rng: torch.Generator, losses: Sequence[Loss]) -> None:
        self.attach(net, rng)
        layers = dict(wrapped(net.denoiser))
        covariances = _moments(net, {path: layer.get_base_layer() for path, layer in layers.items()}, losses)
        for path, layer in layers.items():
            weight = layer.get_base_layer().weight.data
            c, inverse = _inverted(covariances[path])
            u, s, vh = torch.linalg.svd(weight.float() @ c, full_matrices=False)
            rank = layer.r[ADAPTER]
            part = slice(None, rank) if self.mode == "ipm" else slice(len(s) - rank, None)
            root = (s[part] / layer.scaling[ADAPTER]).sqrt()
            _cut(layer, root[:, None] * (vh[part] @ inverse), u[:, part] * root)


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
                _cut(layer, v[:, :r].mT, u[:, r : 2 * r] * s[r : 2 * r] * len(w) ** 0.25 / self.gamma**0.5)


@torch.no_grad()
def _moments(net: Network, layers: dict[str, nn.Module], losses: Sequence[Loss]) -> dict[str, Tensor]:
    """X^T X / rows (in, in) over all inputs X (rows, in) of each layer."""
    sums: dict[str, Tensor] = {}
    rows = dict.fromkeys(layers, 0)

    def look(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach().flatten(0, -2).float()
            sums[path] = sums.get(path, 0) + x.mT @ x
            rows[path] += len(x)

        return hook

    handles = [layer.register_forward_pre_hook(look(path)) for path, layer in layers.items()]
    try:
        for loss in losses:
            loss(net)
    finally:
        for handle in handles:
            handle.remove()
    return {path: total / rows[path] for path, total in sums.items()}


def _inverted(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """(C, C^-1) with as little added to the diagonal as the inverse needs."""
    eye = torch.eye(len(covariance), device=covariance.device)
    damp = DAMP
    while True:
        c = covariance + damp * covariance.diagonal().mean() * eye
        inverse = torch.linalg.inv(c)
        if (c @ inverse - eye).norm() < ERROR:
            return c, inverse
        damp *= 2


@torch.no_grad()
def _cut(layer: Any, a: Tensor, b: Tensor) -> None:
    """Start the layer at factors a (r, in), b (out, r), and take their product out of the base's weight."""
    layer.lora_A[ADAPTER].weight.copy_(a)
    layer.lora_B[ADAPTER].weight.copy_(b)
    base = layer.get_base_layer().weight
    base.data = (base.float() - layer.get_delta_weight(ADAPTER).float()).to(base.dtype)
