"""Bottleneck adapters in parallel: a sub-layer's input x gives s up(relu(down(x))), added to the sub-layer's output.

He, Zhou, Ma, Berg-Kirkpatrick, Neubig, "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022,
arXiv:2110.04366 ("Parallel Adapter"). The start is that of the authors' repository,
jxhe/unify-parameter-efficient-tuning at 5262470, petl/petl_factory.py, option "lora": down as LoRA's A, the rest 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import LitmusError, Method, Network, register
from bench.method.bypass import PLACES, Bottleneck, Parallel, bottleneck_size, insert, sublayers


@register
@dataclass(frozen=True)
class ParallelAdapter(Method):
    """An adapter beside each sub-layer: it reads the sub-layer's input and adds to its output.

    place  ffn, attn or both; the paper finds the feed-forward the better place for a large bottleneck
    width  of the bottleneck; the paper's main table has 512 on models of width 1024
    scale  fixed factor on the adapter's output
    """

    name = "parallel_adapter"
    paper = "arXiv:2110.04366"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    mergeable = False  # relu stands between the two layers
    packable = True
    formula = "h <- h + s relu(x W_down + b_down) W_up + b_up, x the sub-layer's input"

    place: str = "ffn"
    width: int = 32
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise LitmusError(f"{self.name}: place is one of {', '.join(PLACES)}, not {self.place!r}")
        if self.width < 1:
            raise LitmusError(f"{self.name}: width is at least 1, not {self.width}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for _, first, last in sublayers(net, self.place):
            adapter = Bottleneck(first.in_features, last.out_features, self.width, self.scale, last.weight).draw(rng)
            # FLUX.2's single blocks end attention and feed-forward in one layer: a name for each
            name = "parallel_adapter" if not hasattr(last, "parallel_adapter") else "parallel_adapter_ffn"
            insert(last, name, Parallel(adapter), source=first)

    def count(self, net: Network) -> int:
        ends = [(a.in_features, b.out_features) for _, a, b in sublayers(net, self.place)]
        return sum(bottleneck_size(in_, out, self.width) for in_, out in ends)
