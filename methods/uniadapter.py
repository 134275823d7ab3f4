"""UniAdapter: adapters of one block share their down-projection, and each stream has an up-projection of its own.

Lu, Huo, Yang, Lu, Zhan, Tomizuka, Ding, "UniAdapter: Unified Parameter-Efficient Transfer Learning for Cross-modal
Modeling", ICLR 2024, arXiv:2302.06605. Form, s = 0.1 and the start (down as LoRA's A, biases 0) are those
of the authors' repository, RERV/UniAdapter at 08964c4, models/adapter.py; that sets only one of three up-projections
to 0, here all are, so that the start is the base.

The paper's streams are picture, text and their fusion, in a model with an encoder for each. In a denoiser's block they
are here: the attention of the picture on itself, the attention on the text (in a joint block: the text's own stream),
and the feed-forward of each. The paper's fusion branch uses the text's up-projection on top of its own; a U-Net has no
stream of the text alone, so with `cross` the attention on the text uses the picture's. The layer norms that the
repository puts around it are left out, and which layers of the encoders bear an adapter was not checked in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from bench.method.bypass import Branch, draw_down, insert, linear, zero
from bench.network.sites import sites

STREAMS = ("attn1.to_out", "attn2.to_out", "ff.down")


@register
@dataclass(frozen=True)
class UniAdapter(Method):
    """y + s up_stream(relu(down(y))) after each sub-layer, `down` (m, C) being one for the whole block.

    width  of the bottleneck
    scale  fixed factor s
    cross  the attention on the text also uses the up-projection of the picture's attention on itself
    """

    name = "uniadapter"
    paper = "arXiv:2302.06605"
    lr = 5e-3
    space = {"lr": (3e-4, 3e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    mergeable = False  # relu stands between the two layers
    packable = True
    formula = "h <- h + s relu(h D) U_stream, D shared by the streams of a block"

    width: int = 32
    scale: float = 0.1
    cross: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise LitmusError(f"uniadapter: width is at least 1, not {self.width}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for path, ends in _blocks(net):
            like = next(iter(ends.values())).weight
            width = len(like)
            down = linear(width, self.width, like)
            draw_down(down, rng)
            net.get_submodule(path).uniadapter_down = down
            ups = {role: linear(self.width, width, like) for role in ends}
            for role, layer in ends.items():
                zero(ups[role])
                own = STREAMS[0] if self.cross and role.startswith(STREAMS[1]) else None
                other = next((up for key, up in ups.items() if own and key.startswith(own)), None)
                insert(layer, "uniadapter", SharedDown(down, ups[role], other, self.scale))

    def count(self, net: Network) -> int:
        total = 0
        for _, ends in _blocks(net):
            c = len(next(iter(ends.values())).weight)
            total += c * self.width + self.width + len(ends) * (self.width * c + c)
        return total


class SharedDown(Branch):
    """y + s (up + other)(relu(down(y))); `down` and `other` belong to other modules, which train them."""

    def __init__(self, down: nn.Linear, up: nn.Linear, other: nn.Linear | None, scale: float):
        super().__init__()
        self.up, self.scale = up, scale
        self.shared = (down, other)  # in a tuple, so that a state dict has each once

    def forward(self, y: Tensor) -> Tensor:
        down, other = self.shared
        z = F.relu(down(y))
        delta = self.up(z) if other is None else self.up(z) + other(z)
        return y + self.scale * delta


def _blocks(net: Network) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path of a block, {stream: last layer of its sub-layer}), each layer once."""
    roles = {role: sites(net, role, optional=True) for role in STREAMS}
    for block in sites(net, "block"):
        ends: dict[str, Any] = {}
        for role, layers in roles.items():
            inside = [m for path, m in layers.items() if path.startswith(f"{block}.")]
            for i, layer in enumerate(inside):  # FLUX's single blocks end both sub-layers in one layer
                if not any(layer is m for m in ends.values()):
                    ends[f"{role} {i}"] = layer
        if ends:
            yield block, ends
