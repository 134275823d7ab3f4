"""EVA: LoRA through Hugging Face's peft, with a start of our own from the inputs' second moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.method import Loss, Network, register
from methods._informed import Informed, moments
from methods._peft import ADAPTER, wrapped


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
        found = moments(net, {path: layer.get_base_layer() for path, layer in layers.items()}, losses)
        for path, layer in layers.items():
            a = layer.lora_A[ADAPTER].weight
            vectors = torch.linalg.eigh(found[path])[1]  # columns, smallest eigenvalue first
            with torch.no_grad():
                a.copy_(vectors.flip(1)[:, : len(a)].mT)
