"""Methods that put a small module beside a layer: y = f(x) + g(x), with f frozen and g trained.

An author builds g, any module, and inserts it at a layer; the layer need not be replaced, nor its forward written:

    def attach(self, net, rng):
        for layer in sites(net, "attn.to_out").values():
            g = Bottleneck(layer.in_features, layer.out_features, self.width, 1.0, layer.weight).draw(rng)
            insert(layer, "adapter", Parallel(g))       # y = f(x) + g(x)
            # insert(layer, "adapter", Series(g))       # y = f(x) + g(f(x)), g of the output's width
            # insert(last, "adapter", Parallel(g), source=first)    # around a whole sub-layer: see sublayers

Another form is a subclass of `Branch`, which gets the layer's output y and returns what is handed on instead: a gate, a
scale, a prefix. Where g has no non-linearity, the method can be merged: `remove` takes a branch away again.

How it works. The branch becomes a child of the layer, so its tensors are saved as `<path of the layer>.<name>.<...>`,
and a bound method in the layer's `__dict__` stands for the class's `forward`; class, path and tensors of the layer
stay. Its own function is called as it is and its weight is not read, so that weights in 4 or 8 bits work where g is
built like a tensor of numbers (bench.method.floating(net.denoiser)); a method that does so says `quantised = True`.

- A deep copy binds the method to the copied layer, and does not take along what a branch has just heard.
- Packing: `torch.func.functional_call` and `vmap` replace the branch's tensors by name, so its forward writes into no
  tensor.
- Gradient checkpointing runs a forward twice in a step, which must give the same twice. Where a branch listens to
  another layer, both must lie in what is run again together, as the layers of one block do.
- All chance comes from `attach`'s own stream: building an nn.Linear draws from torch's global one, `linear` does not.

Promised to authors outside: every name without an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method.contract import LitmusError, Network
from bench.network.sites import sites

__all__ = [
    "PLACES", "SUBLAYERS", "Bottleneck", "Branch", "Parallel", "Series", "bottleneck_size", "draw_down", "insert",
    "linear", "remove", "sublayers", "zero",
]  # fmt: skip


class Branch(nn.Module):
    """Stands at a layer's output: y -> y', for what follows the layer. Write `forward(self, y)`.

    y is (B, L, out) or whatever shape the layer gives; y' must be what the next module takes. With `listens` the branch
    also reads an input, x (B, L, in), with `self.take()`.
    """

    listens: ClassVar[bool] = False  # it calls take(): insert then needs a source, and takes the layer itself without
    heard: Tensor | None = None  # between the two layers, and never longer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "heard": None}  # checkpointing may stop half-way, and a copy must not take that along

    def take(self) -> Tensor:
        """The input of the layer that is listened to, once for each forward of this branch."""
        x, self.heard = self.heard, None
        if x is None:
            raise LitmusError(f"{type(self).__name__} has heard no input: the layer that it listens to runs before it")
        return x


class Series(Branch):
    """y + adapter(y); `adapter` is any module (..., out) -> (..., out)."""

    def __init__(self, adapter: nn.Module):
        super().__init__()
        self.adapter = adapter

    def forward(self, y: Tensor) -> Tensor:
        return y + self.adapter(y)


class Parallel(Branch):
    """y + adapter(x), x being the input of the layer, or of `source`; `adapter` is any module (..., in) -> (..., out).

    Beside a Conv2d: (B, in, H, W) -> (B, out, H', W').
    """

    listens = True

    def __init__(self, adapter: nn.Module):
        super().__init__()
        self.adapter = adapter

    def forward(self, y: Tensor) -> Tensor:
        return y + self.adapter(self.take())


def insert(layer: Any, name: str, branch: Branch, source: Any = None) -> None:
    """Put `branch` at the output of `layer` as its child `name`; it listens to the input of the layer `source`.

    `layer` and `source` are modules that are called with one tensor, such as Linear and Conv2d; `source` runs before
    `layer` in every forward. Several branches at one layer are run in the order in which they were inserted. Raises
    LitmusError where the layer has something of that name.
    """
    if hasattr(layer, name):
        raise LitmusError(f"a layer has a {name} already: attach a method to a network of its own")
    setattr(layer, name, branch)
    layer.sides = (*getattr(layer, "sides", ()), name)
    # A bound method in the layer's own dict: deepcopy binds it to the copy, and checkpointing calls it as any forward.
    layer.forward = MethodType(_forward, layer)
    if source is None and branch.listens:
        source = layer
    if source is not None:
        # In a tuple, so that it is not a child of both layers and has one name.
        source.listeners = (*getattr(source, "listeners", ()), branch)
        source.forward = MethodType(_forward, source)


def remove(net: nn.Module, name: str) -> None:
    """Take every branch called `name` out of `net` again: for `merge`, when the layers' own tensors hold it."""
    gone = {id(getattr(m, name)) for m in net.modules() if name in getattr(m, "sides", ())}
    for m in [m for m in net.modules() if hasattr(m, "sides") or hasattr(m, "listeners")]:
        layer: Any = m
        sides: tuple[str, ...] = getattr(layer, "sides", ())
        if name in sides:
            delattr(layer, name)
        kept = {
            "sides": tuple(one for one in sides if one != name),
            "listeners": tuple(one for one in getattr(layer, "listeners", ()) if id(one) not in gone),
        }
        for key, value in kept.items():
            layer.__dict__.pop(key, None)
            if value:
                setattr(layer, key, value)
        if not any(kept.values()):
            layer.__dict__.pop("forward", None)


def _forward(layer: Any, x: Tensor) -> Tensor:
    for branch in getattr(layer, "listeners", ()):
        branch.heard = x
    y = type(layer).forward(layer, x)
    for name in getattr(layer, "sides", ()):
        y = getattr(layer, name)(y)
    return y


class Bottleneck(nn.Module):
    """x (..., in) -> scale * up(relu(down(x))) (..., out), both layers with biases; it has no numbers before `draw`.

    like   a tensor of the dtype and on the device that it shall have, such as the layer's weight
    width  between the layers, at least 1
    """

    def __init__(self, in_: int, out: int, width: int, scale: float, like: Tensor):
        super().__init__()
        self.down = linear(in_, width, like)  # weight (m, in), bias (m,)
        self.up = linear(width, out, like)  # weight (out, m), bias (out,)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(F.relu(self.down(x)))

    def draw(self, rng: torch.Generator) -> Bottleneck:
        """Itself at its start: down as LoRA's A, up and both biases 0, so that it adds 0.

        He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv:2110.04366; their code's
        option "lora".
        """
        draw_down(self.down, rng)
        zero(self.up)
        return self


def bottleneck_size(in_: int, out: int, width: int) -> int:
    """Scalars of a Bottleneck."""
    return in_ * width + width + width * out + out


def linear(in_: int, out: int, like: Tensor) -> nn.Linear:
    """A Linear with the dtype and device of `like`, without numbers yet.

    torch's own start would draw from the global stream: give it numbers with `draw_down` and `zero`, or your own.
    """
    return nn.Linear(in_, out, device="meta", dtype=like.dtype).to_empty(device=like.device)


@torch.no_grad()
def draw_down(layer: nn.Linear, rng: torch.Generator) -> None:
    """weight uniform within 1 / sqrt(in), which is kaiming_uniform_(a=sqrt(5)), drawn on the CPU; bias 0."""
    bound = layer.in_features**-0.5
    layer.weight.copy_(torch.empty(layer.weight.shape, device="cpu").uniform_(-bound, bound, generator=rng))
    _zero_bias(layer)


@torch.no_grad()
def zero(layer: nn.Linear) -> None:
    """weight and bias 0."""
    layer.weight.zero_()
    _zero_bias(layer)


def _zero_bias(layer: nn.Linear) -> None:
    if layer.bias is not None:
        layer.bias.zero_()


SUBLAYERS = {  # name -> (role of the first layer, role of the last), for each sub-layer
    "attn": (("attn1.to_q", "attn1.to_out"), ("attn2.to_q", "attn2.to_out")),
    "ffn": (("ff.up", "ff.down"),),
}
PLACES = (*SUBLAYERS, "both")


def sublayers(net: Network, place: str) -> Iterator[tuple[str, Any, Any]]:
    """(path of the last layer, first layer, last layer) for each sub-layer of each block; `place` is one of PLACES.

    The input of the first is the sub-layer's input (after the norm, in a denoiser), the output of the last its output
    (before the gate, where there is one, and the residual sum). The text's stream of a joint block counts as well; the
    last block of some has no way out for it, and is passed over. Paths are from `net`, and begin with "denoiser.".
    Raises LitmusError where no block has such a sub-layer.
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
