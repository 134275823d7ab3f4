"""Small modules beside single layers, by role: what the adapters of several papers have in common.

A side stands at a layer, gets the layer's output y and returns what is handed on instead; it may also hear the input x
of another layer, such as the first of the sub-layer whose last one it stands at. So an adapter in series and one in
parallel need no block's forward, and work in every denoiser whose layers have roles in bench.network.sites.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Network
from bench.network.sites import sites


class Side(nn.Module):
    """y (B, L, out) -> y' of the same width. `heard` is x (B, L, in) between the two layers, and never longer."""

    heard: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "heard": None}  # checkpointing may stop half-way, and a copy must not take that along

    def take(self) -> Tensor:
        """What was heard, once."""
        x, self.heard = self.heard, None
        assert x is not None, "the layer that this side listens to was not called before it"
        return x


def stand(layer: Any, name: str, side: Side, source: Any = None) -> None:
    """Put `side` at `layer` as `layer.<name>`, listening to the input of the layer `source` if there is one."""
    if hasattr(layer, name):
        raise LitmusError(f"a layer has a {name} already: attach a method to a network of its own")
    setattr(layer, name, side)
    layer.sides = (*getattr(layer, "sides", ()), name)
    # A bound method in the layer's own dict: deepcopy binds it to the copy, and checkpointing calls it as any forward.
    layer.forward = MethodType(_forward, layer)
    if source is not None:
        # In a tuple, so that it is not a child of both layers and has one name.
        source.listeners = (*getattr(source, "listeners", ()), side)
        source.forward = MethodType(_forward, source)


def _forward(layer: Any, x: Tensor) -> Tensor:
    for side in getattr(layer, "listeners", ()):
        side.heard = x
    y = type(layer).forward(layer, x)
    for name in getattr(layer, "sides", ()):
        y = getattr(layer, name)(y)
    return y


class Bottleneck(nn.Module):
    """x (..., in) -> scale * up(relu(down(x))) (..., out), both layers with biases.

    He et al.'s start, their option "lora": down as LoRA's A, up and both biases 0.
    """

    def __init__(self, in_: int, out: int, width: int, scale: float, like: Tensor):
        super().__init__()
        kind: Any = {"dtype": like.dtype, "device": like.device}
        self.down = bare(in_, width, kind)  # weight (m, in), bias (m,)
        self.up = bare(width, out, kind)  # weight (out, m), bias (out,)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(F.relu(self.down(x)))

    def draw(self, rng: torch.Generator) -> Bottleneck:
        draw_down(self.down, rng)
        zero(self.up)
        return self


def bare(in_: int, out: int, kind: dict[str, Any]) -> nn.Linear:
    """A Linear without numbers yet: torch's own start would draw from the global stream."""
    return nn.Linear(in_, out, device="meta", dtype=kind["dtype"]).to_empty(device=kind["device"])


@torch.no_grad()
def draw_down(layer: nn.Linear, rng: torch.Generator) -> None:
    """weight uniform within 1 / sqrt(in), which is kaiming_uniform_(a=sqrt(5)); bias 0."""
    bound = layer.in_features**-0.5
    layer.weight.copy_(torch.empty(layer.weight.shape, device="cpu").uniform_(-bound, bound, generator=rng))
    zero_bias(layer)


@torch.no_grad()
def zero(layer: nn.Linear) -> None:
    layer.weight.zero_()
    zero_bias(layer)


@torch.no_grad()
def zero_bias(layer: nn.Linear) -> None:
    if layer.bias is not None:
        layer.bias.zero_()


def bottleneck_size(in_: int, out: int, width: int) -> int:
    return in_ * width + width + width * out + out


class Series(Side):
    """y + adapter(y)."""

    def __init__(self, adapter: Bottleneck):
        super().__init__()
        self.adapter = adapter

    def forward(self, y: Tensor) -> Tensor:
        return y + self.adapter(y)


class Parallel(Side):
    """y + adapter(x), x being the sub-layer's input."""

    def __init__(self, adapter: Bottleneck):
        super().__init__()
        self.adapter = adapter

    def forward(self, y: Tensor) -> Tensor:
        return y + self.adapter(self.take())


SUBLAYERS = {  # name -> (role of the first layer, role of the last), for each sub-layer
    "attn": (("attn1.to_q", "attn1.to_out"), ("attn2.to_q", "attn2.to_out")),
    "ffn": (("ff.up", "ff.down"),),
}
PLACES = (*SUBLAYERS, "both")


def sublayers(net: Network, place: str) -> Iterator[tuple[str, Any, Any]]:
    """(path of the last layer, first layer, last layer) for each sub-layer of each block.

    The input of the first is the sub-layer's input (after the norm, in a denoiser), the output of the last its output
    (before the gate, where there is one, and the residual sum). The text's stream of a joint block counts as well; the
    last block of some has no way out for it, and is passed over.
    """
    blocks = list(sites(net, "block"))
    found = False
    for first, last in (pair for p in SUBLAYERS if place in (p, "both") for pair in SUBLAYERS[p]):
        firsts, lasts = sites(net, first, optional=True), sites(net, last, optional=True)
        for block in blocks:
            inside = [[key for key in side if key.startswith(f"{block}.")] for side in (firsts, lasts)]
            if len(inside[0]) != len(inside[1]):
                continue
            for a, b in zip(*inside, strict=True):
                found = True
                yield b, firsts[a], lasts[b]
    if not found:
        raise LitmusError(f"{type(net.denoiser).__name__} has no sub-layer of the kind {place!r} whose ends are known")
