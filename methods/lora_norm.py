"""LoRA with trainable norms.

Chen, Qian, Tang, Lai, Liu, Han, Jia, "LongLoRA: Efficient Fine-tuning of Long-Context Large Language Models", ICLR
2024, arXiv:2309.12307 ("Improved LoRA for Long Context"), where LoRA alone falls short and norms (and embeddings)
beside it close the gap; called LoRA+ there, a name that another paper has since taken. A denoiser has no table of
embeddings, so here it is the norms: their weights and biases, as the base has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bench.method import LitmusError, Network, register
from bench.network.sites import sites
from methods.lora import LoRA


@register
@dataclass(frozen=True)
class LoRANorm(LoRA):
    """LoRA at `targets`, and the affine tensors of every norm of the denoiser."""

    name = "lora_norm"
    paper = "arXiv:2309.12307"
    formula = "W' = W + (alpha / rank) B A; norms' weights and biases trained"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        affine = _affine(net)
        super().attach(net, rng)
        for p in affine:
            p.requires_grad_(True)

    def count(self, net: Network) -> int:
        return super().count(net) + sum(p.numel() for p in _affine(net))


def _affine(net: Network) -> list[nn.Parameter]:
    found = [p for norm in sites(net, "norm", optional=True).values() for p in norm.parameters(recurse=False)]
    if not found:
        what = f"the norms of a {type(net.denoiser).__name__} have no weights"
        raise LitmusError(f"lora_norm: {what}: take lora, which is the same there")
    return found
