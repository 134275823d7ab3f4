"""Methods that change a layer's weight: W' = f(W; theta), mostly W' = W + delta(theta).

An author subclasses `Reparam` and says what is trained at one layer (`init`), what the change is (`delta`) and how many
scalars that is (`size`). Attaching, counting, merging, copying and packing are done here:

    @register
    @dataclass(frozen=True)
    class OuterProduct(Reparam):
        '''Add a product of two trained vectors to each weight at `targets`.'''

        name = "outer_product"
        paper = "none: an example"

        def init(self, w, rng):
            return {"a": normal((w.shape[1],), 0.02, rng, w), "b": w.new_zeros(len(w))}

        def delta(self, w, theta):
            return torch.outer(theta.b, theta.a)

        def size(self, out, in_):
            return out + in_

`LowRank` is LoRA in this form, to build on. A method that adapts only some of its layers so calls `wrap` itself.

How it works. An adapted layer, a Linear or a Conv2d, gets a child module `theta` that holds the trained tensors
(parameters, named `<path of the layer>.theta.<key>` in a saved state) and the frozen ones (buffers that are not saved).
The layer keeps its class, its path and its own tensors; a bound method in its `__dict__` stands for the class's
`forward`. A weight is always seen as a matrix W (out, in), or (out, in * kh * kw) for a Conv2d.

- Merging computes W' once, in float32 or wider, writes it into the layer's own weight, and takes `theta` away.
- A deep copy binds the method to the copied layer, so that a copy trains and merges by itself.
- Packing: `torch.func.functional_call` and `vmap` replace theta's tensors by name. So `delta`, `weight` and `forward`
  write into no tensor, and do not branch on a trained value.
- Gradient checkpointing runs `forward` twice in a step, which must give the same twice: draw in `step`, with `draws`
  of a seed that `attach` took by `substream`, and keep what was drawn in `theta.memory`.

A method may have a second form of the same function. The weight form computes W' and applies it once; every method has
it, and `merge` uses it. The activation form computes W x and a correction, without ever making W': override `forward`,
and test it against `Reparam.forward(method, layer, x, theta)`, as tests/bench/method/test_reparam.py does.

Promised to authors outside: every name without an underscore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method.contract import LitmusError, Method, Network
from bench.network.sites import sites

__all__ = [
    "LowRank", "Memory", "Reparam", "Theta", "apply", "draws", "flat", "grouped", "mix", "normal", "substream", "svd",
    "thetas", "uniform", "unwrap", "wide", "wrap",
]  # fmt: skip


@dataclass(frozen=True)
class Reparam(Method):
    """W' = f(W; theta) at each layer at `targets`. Write `init`, `size`, and `delta` (or `weight`).

    targets  role of bench.network.sites; every module that has it must be a Linear or a Conv2d
    """

    targets: str = "attn"

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """The trained tensors at their start for one weight `w` (out, in), by name; they become `theta.<name>`.

        `w` is float32 or wider, and may be on the meta device: draw with `uniform` and `normal`, which give shapes
        alone there. What is returned is moved to the layer's device and dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it trains: write init(self, w, rng)")

    def fixed(self, w: Tensor) -> dict[str, Tensor]:
        """Frozen tensors by name, from `w` (out, in) and the hyperparameters alone: they are not saved but made again.

        Something random is drawn from a hyperparameter, as in torch.Generator().manual_seed(self.seed).
        """
        return {}

    def delta(self, w: Tensor, theta: Any) -> Tensor:
        """What is added to `w` (out, in), of its shape. `theta` has the tensors of `init` and `fixed` as attributes."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes: write delta(self, w, theta)")

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        """W' (out, in) from W (out, in): W + delta. Override it where W' is no sum, as a rotation W R is not."""
        return w + self.delta(w, theta)

    def bias(self, b: Tensor | None, theta: Any) -> Tensor | None:
        """b' (out,) where a method changes it; most leave it as it is. None for a layer without one."""
        return b

    def size(self, out: int, in_: int) -> int:
        """Trained scalars at one weight (out, in), by the paper's formula."""
        raise NotImplementedError(f"{type(self).__name__} must say how much it trains: write size(self, out, in_)")

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        """What the adapted layer computes of its input `x`; by W', unless a method has an activation form."""
        return apply(layer, x, self.weight(flat(layer.weight), theta), self.bias(layer.bias, theta))

    def layers(self, net: Network) -> dict[str, Any]:
        """The layers to adapt, by path from `net`. Raises LitmusError where one is neither a Linear nor a Conv2d."""
        found = sites(net, self.targets)
        if odd := next((k for k, m in found.items() if not isinstance(m, nn.Linear | nn.Conv2d)), None):
            what = f"{odd} is a {type(found[odd]).__name__}"
            raise LitmusError(f"{self.name}: {what}; choose targets that are Linear or Conv2d layers")
        return found

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for layer in self.layers(net).values():
            w = flat(layer.weight.detach())
            w = w.to(wide(w))  # in bf16 a start, or a decomposition, would be a coarse one
            wrap(layer, self, self.init(w, rng), self.fixed(w))

    def count(self, net: Network) -> int:
        return sum(self.size(*flat(layer.weight).shape) for layer in self.layers(net).values())

    @torch.no_grad()
    def merge(self, net: Network) -> None:
        for layer, theta in thetas(net):
            w = flat(layer.weight)
            theta.to(wide(w))  # is thrown away below
            layer.weight.copy_(self.weight(w.to(wide(w)), theta).view_as(layer.weight))
            if layer.bias is not None:
                layer.bias.copy_(self.bias(layer.bias.to(wide(w)), theta))
            unwrap(layer)


@dataclass(frozen=True)
class LowRank(Reparam):
    """LoRA's own form, for methods that build on it: W' = W + (alpha / rank) B A, with peft's start for A.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv:2106.09685, section 4.1.
    rank   rows of A (rank, in) and columns of B (out, rank), at least 1
    alpha  scales the product by alpha / rank; none means alpha = rank, a factor of 1
    """

    rank: int = 4
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"{self.name}: rank is at least 1, not {self.rank}")

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        a = uniform((self.rank, w.shape[1]), w.shape[1] ** -0.5, rng, w)  # (r, in): kaiming_uniform_(a=sqrt(5))
        return {"a": a, "b": w.new_zeros(len(w), self.rank)}  # b (out, r) = 0: the start is the base

    def delta(self, w: Tensor, theta: Any) -> Tensor:
        return self.scale * (theta.b @ theta.a)

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if grouped(layer):
            return super().forward(layer, x, theta)
        y = apply(layer, x, flat(layer.weight), layer.bias)
        return y + self.scale * mix(layer, apply(layer, x, theta.a), theta.b)

    def size(self, out: int, in_: int) -> int:
        return self.rank * (out + in_)


class Theta(nn.Module):
    """What a method adds to one layer: trained tensors as parameters, frozen ones as buffers, all as attributes.

    method  the method, whose `forward` the layer calls
    memory  what the method remembers while it trains, a dictionary; a copy of the network starts without it
    """

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


def wrap(layer: Any, method: Any, trained: Mapping[str, Tensor], fixed: Mapping[str, Tensor] | None = None) -> None:
    """Give `layer` its theta, in its own dtype and on its own device, and `method.forward(layer, x, theta)`.

    For any module with a `weight` that is called with one tensor; `method` may be any object with such a `forward`,
    which gets at the layer's own function by `type(layer).forward(layer, x)`. Raises LitmusError for a layer that is
    wrapped already.
    """
    if hasattr(layer, "theta"):
        raise LitmusError("a layer is adapted already: attach a method to a network of its own")
    like = layer.weight

    def place(value: Tensor) -> Tensor:
        return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype).contiguous()

    fixed = fixed or {}
    layer.theta = Theta(method, {k: place(v) for k, v in trained.items()}, {k: place(v) for k, v in fixed.items()})
    layer.theta.train(layer.training)  # a new module is in training mode, whatever its parent is in
    # A bound method in the layer's own dict: deepcopy binds it to the copy, and checkpointing calls it as any forward.
    layer.forward = MethodType(_forward, layer)


def unwrap(layer: Any) -> None:
    """Take theta away again; the layer is what its class says, with the weight that it has now."""
    del layer.theta
    layer.__dict__.pop("forward", None)


def thetas(net: nn.Module) -> list[tuple[Any, Any]]:
    """(layer, its theta) for every adapted layer of `net`, in the network's own order."""
    return [(m, m.theta) for m in net.modules() if isinstance(getattr(m, "theta", None), Theta)]


def _forward(layer: Any, x: Tensor) -> Tensor:
    return layer.theta.method.forward(layer, x, layer.theta)


def flat(weight: Tensor) -> Tensor:
    """The weight as a matrix (out, in), with a convolution's kernel counted among its inputs: (out, in * kh * kw)."""
    return weight.flatten(1)


def wide(w: Tensor) -> torch.dtype:
    """The dtype of `w`, or float32 where that is shorter."""
    return torch.promote_types(w.dtype, torch.float32)


def apply(layer: Any, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """`layer` with the matrix `w` (rows, in) in place of its own weight, which may have other rows than it.

    `x` is (..., in) for a Linear, which gives (..., rows), and (B, in, H, W) for a Conv2d, which gives
    (B, rows, H', W') by the layer's stride, padding, dilation and groups.
    """
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
    """A float32 tensor uniform within +- `bound`, drawn on the CPU from `rng`; shapes alone where `like` is meta."""
    if like.is_meta:
        return like.new_empty(shape)
    return torch.empty(shape, device="cpu").uniform_(-bound, bound, generator=rng)


def normal(shape: tuple[int, ...], std: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """A float32 tensor of N(0, std^2), drawn on the CPU from `rng`; shapes alone where `like` is meta."""
    if like.is_meta:
        return like.new_empty(shape)
    return torch.empty(shape, device="cpu").normal_(0, std, generator=rng)


def substream(rng: torch.Generator) -> int:
    """A seed of its own for what `step` draws, taken from the run's stream in `attach`, after what is initialised.

    Keep it in the network as a plain number (`theta.seed = substream(rng)`): it is copied and pickled with it, and each
    seed of a board draws otherwise. What is frozen and not saved comes from a hyperparameter instead.
    """
    return int(torch.randint(2**31 - 1, (), generator=rng, device="cpu"))


def draws(seed: int, step: int) -> torch.Generator:
    """A stream for step `step` of a run: its draws hang on `seed` (see `substream`) and the step alone."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def svd(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (out, m), s (m,) falling, V (m, in) with m = min(out, in), so that w = U diag(s) V; on meta, shapes alone.

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
