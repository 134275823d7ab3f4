"""Full fine-tuning of the denoiser, as DreamBooth does it with the text side frozen.

Ruiz, Li, Jampani, Pritch, Rubinstein, Aberman, "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for
Subject-Driven Generation", CVPR 2023, arXiv:2208.12242.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import Method, Network, register


@register
@dataclass(frozen=True)
class Full(Method):
    """Train every weight of the denoiser; nothing is added, so merging is already done."""

    name = "full"
    paper = "arXiv:2208.12242"
    lr = 1e-4  # one to two orders below the light methods, which move far fewer weights
    space = {"lr": (1e-5, 1e-3, "log")}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        net.denoiser.requires_grad_(True)

    def count(self, net: Network) -> int:
        return sum(p.numel() for p in net.denoiser.parameters())
