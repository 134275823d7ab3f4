"""Methods of the form W' = f(W; theta): a file says what theta is and what f is, this says attach, merge and count.

Each adapted layer, a Linear or a Conv2d, gets a child `theta` that holds the trained tensors, and what is frozen and
made from W. The layer keeps its class, its name and its own tensors; its forward is replaced by a bound method, which
deepcopy binds to the copy and merge only has to forget. A weight is always seen as a matrix: (out, in), or
(out, in * kh * kw) for a Conv2d.

A method has up to two forms of the same function. The weight form computes W' and applies it once; every method has
it, and `merge` uses it. The activation form computes W x and a correction, without ever making W'; a method whose paper
does so overrides `forward`. tests/methods/test_reparam.py holds the two forms against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network
from bench.network.sites import sites


@dataclass(frozen=True)
class Reparam(Method):
    """The family. `targets` is a role of bench.network.sites; every module that plays it must be a Linear or a Conv2d."""

    targets: str = "attn"

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """The trained tensors at the start for one weight `w` (out, in), which may be on the meta device."""
        raise NotImplementedError(f"{type(self).__name__} must say what it trains: write init(self, w, rng)")

    def fixed(self, w: Tensor) -> dict[str, Tensor]:
        """Frozen tensors, made from `w` (out, in) and the hyperparameters alone so that they need not be saved."""
        return {}

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        """W' (out, in) from W (out, in) and theta."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes: write weight(self, w, theta)")

    def bias(self, b: Tensor | None, theta: Any) -> Tensor | None:
        """b' (out,) where a method changes it; most leave it as it is."""
        return b

    def size(self, out: int, in_: int) -> int:
        """Trained scalars for one weight (out, in)."""
        raise NotImplementedError(f"{type(self).__name__} must say how much it trains: write size(self, out, in_)")

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        """What the adapted layer computes; the weight form unless a method has its own."""
        return apply(layer, x, self.weight(flat(layer.weight), theta), self.bias(layer.bias, theta))

    def places(self, net: Network) -> dict[str, Any]:
        """The adapted layers by path."""
        found = sites(net, self.targets)
        if odd := next((k for k, m in found.items() if not isinstance(m, nn.Linear | nn.Conv2d)), None):
            what = f"{odd} is a {type(found[odd]).__name__}"
            raise LitmusError(f"{self.name}: {what}; choose targets that are Linear or Conv2d layers")
        return found

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for layer in self.places(net).values():
            w = flat(layer.weight.detach())
            w = w.to(wide(w))  # in bf16 a start, or a decomposition, would be a coarse one
            wrap(layer, self, self.init(w, rng), self.fixed(w))

    def count(self, net: Network) -> int:
        return sum(self.size(*flat(layer.weight).shape) for layer in self.places(net).values())

    @torch.no_grad()
    def merge(self, net: Network) -> None:
        for layer, theta in thetas(net):
            w = flat(layer.weight)
            theta.to(wide(w))  # is thrown away below
            layer.weight.copy_(self.weight(w.to(wide(w)), theta).view_as(layer.weight))
            if layer.bias is not None:
                layer.bias.copy_(self.bias(layer.bias.to(wide(w)), theta))
            unwrap(layer)


class Theta(nn.Module):
    """What a method adds to one layer. `memory` is what it remembers while it trains; a copy starts without it."""

    def __init__(self, method: Any, trained: Mapping[str, Tensor], fixed: Mapping[str, Tensor]):
        super().__init__()
        self.method = method
        self.memory = Memory()
        for key, value in trained.items():
            self.register_parameter(key, nn.Parameter(value))
        for key, value in fixed.items():
            self.register_buffer(key, value, persistent=False)


class Memory(dict[str, Any]):
    """Plain values and tensors of the step that is under way, which nothing outside training may depend on."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        return Memory()


def wrap(layer: Any, method: Any, trained: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> None:
    """Give `layer` its theta, in its own precision and on its own device, and the method's forward."""
    like = layer.weight

    def place(value: Tensor) -> Tensor:
        return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype).contiguous()

    layer.theta = Theta(method, {k: place(v) for k, v in trained.items()}, {k: place(v) for k, v in fixed.items()})
    layer.theta.train(layer.training)  # a new module is in training mode, whatever its parent is in
    layer.forward = MethodType(_forward, layer)


def unwrap(layer: Any) -> None:
    del layer.theta
    layer.__dict__.pop("forward", None)


def thetas(net: nn.Module) -> list[tuple[Any, Any]]:
    """(layer, its theta) for every adapted layer."""
    return [(m, m.theta) for m in net.modules() if isinstance(getattr(m, "theta", None), Theta)]


def _forward(layer: Any, x: Tensor) -> Tensor:
    return layer.theta.method.forward(layer, x, layer.theta)


def flat(weight: Tensor) -> Tensor:
    """(out, in), with a convolution's kernel counted among its inputs."""
    return weight.flatten(1)


def wide(w: Tensor) -> torch.dtype:
    return torch.promote_types(w.dtype, torch.float32)


def apply(layer: Any, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """`layer` with the matrix `w` (rows, in) in place of its own weight, which may have other rows than it."""
    if not isinstance(layer, nn.Conv2d):
        return F.linear(x, w, bias)
    kernel = w.unflatten(1, layer.weight.shape[1:])
    if layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        return F.conv2d(x, kernel, bias, layer.stride, 0, layer.dilation, layer.groups)
    return F.conv2d(x, kernel, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def mix(layer: Any, h: Tensor, w: Tensor) -> Tensor:
    """The matrix `w` (out, r) on the features of `h`: (..., r), or (B, r, H, W) after a convolution."""
    return F.conv2d(h, w[:, :, None, None]) if isinstance(layer, nn.Conv2d) else F.linear(h, w)


def grouped(layer: Any) -> bool:
    """A grouped convolution: each row of its matrix sees a part of the inputs, so factors cannot be applied in turn."""
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def uniform(shape: tuple[int, ...], bound: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Drawn on the CPU from `rng`; on the meta device, shapes alone."""
    if like.is_meta:
        return like.new_empty(shape)
    return torch.empty(shape, device="cpu").uniform_(-bound, bound, generator=rng)


def normal(shape: tuple[int, ...], std: float, rng: torch.Generator, like: Tensor) -> Tensor:
    if like.is_meta:
        return like.new_empty(shape)
    return torch.empty(shape, device="cpu").normal_(0, std, generator=rng)


def svd(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (out, m), s (m,) falling, V (m, in) with m = min(out, in); on the meta device, shapes alone.

    Each pair of singular vectors is known but for its sign: here the largest entry of each column of U is positive.
    Where singular values nearly coincide their vectors are not unique, so another machine may find others.
    """
    m = min(w.shape)
    if w.is_meta:
        return w.new_empty(len(w), m), w.new_empty(m), w.new_empty(m, w.shape[1])
    if len(w) > w.shape[1]:
        v, s, u = _svd(w.T)
        u, v = u.T, v.T
    else:
        u, s, v = _svd(w)
    sign = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()  # (1, m)
    return u * sign, s, v * sign.T


def _svd(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if w.shape[1] < 2 * len(w):
        return torch.linalg.svd(w, full_matrices=False)
    # A kernel of 1280 x 11520 takes 25 s at once on one core, and 5 s by way of its triangular factor.
    q, r = torch.linalg.qr(w.T)  # (in, out), (out, out)
    u, s, v = torch.linalg.svd(r.T)
    return u, s, v @ q.T


@dataclass(frozen=True)
class LowRank(Reparam):
    """LoRA's own form, for methods that build on it: W' = W + (alpha / rank) B A, with peft's start for A."""

    rank: int = 4
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"{self.name}: rank is at least 1, not {self.rank}")

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        a = uniform((self.rank, w.shape[1]), w.shape[1] ** -0.5, rng, w)  # (r, in): kaiming_uniform_(a=sqrt(5))
        return {"a": a, "b": w.new_zeros(len(w), self.rank)}  # b (out, r) = 0: the start is the base

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        return w + self.scale * (theta.b @ theta.a)

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if grouped(layer):
            return super().forward(layer, x, theta)
        y = apply(layer, x, flat(layer.weight), layer.bias)
        return y + self.scale * mix(layer, apply(layer, x, theta.a), theta.b)

    def size(self, out: int, in_: int) -> int:
        return self.rank * (out + in_)


def draws(seed: int, step: int) -> torch.Generator:
    """A stream for step `step` of a run, so that a run that is taken up again draws what it would have drawn."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def numbered(net: nn.Module) -> Iterator[tuple[int, Any, Any]]:
    yield from ((i, layer, theta) for i, (layer, theta) in enumerate(thetas(net)))
