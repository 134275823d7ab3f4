"""CorDA: LoRA through Hugging Face's peft, with a start of our own from the inputs' covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.method import Loss, Network, register
from methods._informed import Informed, cut, moments
from methods._peft import ADAPTER, one_of, wrapped

DAMP = 0.01  # of the mean eigenvalue, added to CorDA's covariance before it is inverted; doubled until that goes well
ERROR = 0.05  # largest |C C^-1 - I| that goes well; both as in the authors' code and in peft


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
        covariances = moments(net, {path: layer.get_base_layer() for path, layer in layers.items()}, losses)
        for path, layer in layers.items():
            weight = layer.get_base_layer().weight.data
            c, inverse = _inverted(covariances[path])
            u, s, vh = torch.linalg.svd(weight.float() @ c, full_matrices=False)
            rank = layer.r[ADAPTER]
            part = slice(None, rank) if self.mode == "ipm" else slice(len(s) - rank, None)
            root = (s[part] / layer.scaling[ADAPTER]).sqrt()
            cut(layer, root[:, None] * (vh[part] @ inverse), u[:, part] * root)


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
