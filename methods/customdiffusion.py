"""Custom Diffusion: train the key and value layers of the attention on the text, freeze the rest.

Kumari, Zhang, Zhang, Shechtman, Zhu, "Multi-Concept Customization of Text-to-Image Diffusion", CVPR 2023,
arXiv:2212.04488. 19,169,280 scalars on Stable Diffusion 1.x, 75 MB as the paper says. The paper trains the
new token's embedding as well, which is the option `token`, and regularises with 200 pictures of the class, which is an
objective here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bench.method import Method, Network, register
from bench.network.sites import sites
from methods._tokens import fold_rows, free_rows, rows_size


@register
@dataclass(frozen=True)
class CustomDiffusion(Method):
    """Train W_k and W_v (C, D) of every attention on the text; nothing is added, so merging is already done.

    In a joint block these are the text stream's own key and value layers.

    token  also train the embedding of the identifier's tokens, as `textual_inversion` does
    """

    name = "customdiffusion"
    paper = "arXiv:2212.04488"
    lr = 2e-4  # between full fine-tuning and the light methods: the paper's 1e-5 is for 512 x 512 pictures, batch 8
    space = {"lr": (1e-5, 2e-3, "log")}
    packable = True
    side = "denoiser"
    formula = "W_k, W_v of the attention on the text, trained whole"

    token: bool = False

    def __post_init__(self) -> None:
        if self.token:  # on the instance, since tables read the class's own: the method without its option
            object.__setattr__(self, "side", "both")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        if self.token:
            free_rows(net, self.name)
        for p in _keys_and_values(net):
            p.requires_grad_(True)

    def count(self, net: Network) -> int:
        rows = rows_size(net, self.name) if self.token else 0
        return rows + sum(p.numel() for p in _keys_and_values(net))

    def merge(self, net: Network) -> None:
        if self.token:
            fold_rows(net, self.name)


def _keys_and_values(net: Network) -> list[nn.Parameter]:
    return [p for layer in sites(net, "attn2.to_k+attn2.to_v").values() for p in layer.parameters()]
