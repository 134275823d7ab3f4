"""LoRA, through Hugging Face's peft: W' = W + (alpha / rank) B A.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen, "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022,
arXiv:2106.09685, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.method import LitmusError, Method, Network, refuse_quantised, register
from bench.network.sites import sites


@register
@dataclass(frozen=True)
class LoRA(Method):
    """Add a product of rank `rank` to each weight at `targets`.

    alpha    scales the product by alpha / rank; none means alpha = rank, a factor of 1
    targets  role of bench.network.sites; Linear and Conv2d layers
    """

    name = "lora"
    paper = "arXiv:2106.09685, section 4.1"
    lr = 2e-3
    quantised = True
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"

    rank: int = 4
    alpha: float | None = None
    targets: str = "attn"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"lora: rank is at least 1, not {self.rank}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        alpha = self.rank if self.alpha is None else self.alpha
        # Paths inside the denoiser, since that is what peft is given.
        config = LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=list(sites(net.denoiser, self.targets)))  # pyright: ignore
        with torch.random.fork_rng(devices=[]):  # peft draws A from the global stream
            inject_adapter_in_model(config, net.denoiser)
        for module in net.denoiser.modules():
            if isinstance(module, LoraLayer):
                a: Any = module.lora_A["default"].weight  # (r, in), or (r, in, kh, kw)
                bound = a[0].numel() ** -0.5  # peft's kaiming_uniform_(a=sqrt(5)), drawn again from the given stream
                with torch.no_grad():
                    a.copy_(torch.empty(a.shape, device="cpu").uniform_(-bound, bound, generator=rng))

    def count(self, net: Network) -> int:
        return sum(self.rank * sum(_shape(layer)) for layer in sites(net, self.targets).values())

    def merge(self, net: Network) -> None:
        from peft.tuners.lora import LoraLayer

        refuse_quantised(self, net)
        for path, module in list(net.denoiser.named_modules()):
            if isinstance(module, LoraLayer):
                module.merge()  # type: ignore[operator]
                parent, _, child = path.rpartition(".")
                setattr(net.denoiser.get_submodule(parent), child, module.get_base_layer())
        del net.denoiser.peft_config


def _shape(layer: Any) -> tuple[int, int]:
    """(out, in) of a layer's weight, a convolution's kernel counted among its inputs."""
    if isinstance(layer, nn.Linear):  # in 4 bits its weight has another shape
        return layer.out_features, layer.in_features
    return layer.weight.shape[0], layer.weight[0].numel()
