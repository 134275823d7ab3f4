"""LoRA's relatives in peft: other scales, starts, factors and gradients. Imported by methods/hub.py.

`lora` itself is methods/lora.py. A start that is cut out of the weight (PiSSA, OLoRA, CorDA, LoRA-GA) changes the base
layer too, W -> W - (alpha / rank) B A, so that the network starts where the base is; what is cut out is made again
from the base, so the trained factors are all that is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import LitmusError, Network, register
from bench.network.sites import sites
from methods._peft import ADAPTER, LINEAR, LINEAR_CONV, Shape, Tuner, divisor, drawn_from, shape_of, wrap, wrapped


@dataclass(frozen=True)
class LowRank(Tuner):
    """W' = W + scale B A with A (rank, in), B (out, rank), through peft's LoraConfig.

    alpha  none means alpha = rank
    """

    lr = 2e-3
    config = "LoraConfig"
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "W' = W + (alpha / rank) B A"

    rank: int = 4
    alpha: float | None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.fitting(shape), "lora_alpha": self.rank if self.alpha is None else self.alpha}

    def fitting(self, shape: Shape) -> int:
        """The rank that this weight gets."""
        return self.rank

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * sum(shape)


@dataclass(frozen=True)
class Cut(LowRank):
    """A start out of a decomposition of W, which has no more than min(out, in) parts: there the rank stops."""

    kinds = LINEAR

    def fitting(self, shape: Shape) -> int:
        return min(self.rank, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        rank = self.fitting(shape)
        return {"r": rank, "lora_alpha": rank if self.alpha is None else self.alpha * rank / self.rank}


@register
@dataclass(frozen=True)
class RsLoRA(LowRank):
    """LoRA scaled by alpha / sqrt(rank), so that the product does not shrink as the rank grows.

    Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv:2312.03732.
    alpha  none means alpha = sqrt(rank), a factor of 1 as in `lora`; at a given alpha the two part
    """

    name = "rslora"
    paper = "arXiv:2312.03732"
    formula = "W' = W + (alpha / sqrt(rank)) B A"
    kinds = LINEAR_CONV

    alpha: float | None = 4.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "lora_alpha": math.sqrt(self.rank) if self.alpha is None else self.alpha} | {
            "use_rslora": True
        }


@register
@dataclass(frozen=True)
class DoRA(LowRank):
    """Direction and size of each weight's rows apart: LoRA moves the direction, a trained vector m (out,) the size.

    Liu, Wang, Yin, Molchanov, Wang, Cheng, Chen, "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024,
    arXiv:2402.09353, section 4.1. m starts as the rows' norms; the norm below the fraction is held constant in the
    gradient (section 4.3).
    """

    name = "dora"
    paper = "arXiv:2402.09353, section 4.1"
    formula = "W' = m (W + s B A) / |W + s B A|, norms over each output's row"
    kinds = LINEAR_CONV

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"use_dora": True}

    def size(self, shape: Shape) -> int:
        return super().size(shape) + shape[0]


@register
@dataclass(frozen=True)
class PiSSA(Cut):
    """LoRA that starts as the largest singular parts of W, the rest of W being frozen.

    Meng, Wang, Zhang, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    NeurIPS 2024, arXiv:2404.02948. The rank stops at min(out, in).
    """

    name = "pissa"
    paper = "arXiv:2404.02948"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - B0 A0) + B A; B0 A0 = U_r S_r V_r^T of W"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "pissa"}


@register
@dataclass(frozen=True)
class OLoRA(Cut):
    """LoRA that starts as the first columns of Q and rows of R, W = Q R, the rest of W being frozen.

    Buyukakyuz, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", 2024, arXiv:2406.01775.
    The rank stops at min(out, in).
    """

    name = "olora"
    paper = "arXiv:2406.01775"
    lr = 5e-4
    space = {"lr": (2e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    formula = "W' = (W - s B0 A0) + s B A; B0 = Q[:, :r], A0 = R[:r] of W = Q R"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "olora"}


@register
@dataclass(frozen=True)
class MiCA(Cut):
    """LoRA whose B is frozen at the left singular vectors of W's smallest singular values; A starts at 0.

    Rudiger, Raschka, "MiCA Learns More Knowledge Than LoRA and Full Fine-Tuning", 2026, arXiv:2604.01694 (minor
    component adaptation); paper not read, as peft's `mica` start. The rank stops at min(out, in).
    """

    name = "mica"
    paper = "arXiv:2604.01694"
    formula = "W' = W + s U_minor A"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"init_lora_weights": "mica"}

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * shape[1]


@register
@dataclass(frozen=True)
class Orthogonal(LowRank):
    """LoRA whose A and B both start at random, but in directions that cancel: B A = 0 and W stays whole.

    peft's `orthogonal` start, which has no paper (peft names https://datta0.github.io/posts/rethink-lora-init): the
    rows of a random orthogonal matrix are dealt out, every other one to A and to B. The rank is taken up to the next
    even number.
    """

    name = "orthogonal"
    paper = "none: peft's start of that name"
    formula = "W' = W + (alpha / rank) B A; A0 = (N1 Q[0::2])^T, B0 = N2 Q[1::2], Q orthogonal, N1, N2 normal"
    kinds = LINEAR
    solid = True

    def fitting(self, shape: Shape) -> int:
        return self.rank + self.rank % 2

    def settings(self, shape: Shape) -> dict[str, Any]:
        rank = self.fitting(shape)
        alpha = rank if self.alpha is None else self.alpha
        return {"r": rank, "lora_alpha": alpha, "init_lora_weights": "orthogonal"}


@register
@dataclass(frozen=True)
class VeLoRA(LowRank):
    """LoRA that keeps one number for each piece of A's inputs, and makes A's gradient from these.

    Miles, Reddy, Elezi, Deng, "VeLoRA: Memory Efficient Training using Rank-1 Sub-Token Projections", NeurIPS 2024,
    arXiv:2405.17991. The function is LoRA's, the gradient of A an approximation. Each piece is projected on the mean
    of all pieces in the batch, peft's default basis. peft does so in training mode alone and keeps the basis in a
    buffer; here it is done in both modes and kept nowhere. Pieces of one input lose nothing: on layers no wider than
    `pieces` this is LoRA.
    pieces  into which each input is cut
    """

    name = "velora"
    paper = "arXiv:2405.17991"
    formula = "W' = W + (alpha / rank) B A; dL/dA from x ~ (x . v) v in each piece of x, v their mean, |v| = 1"
    kinds = LINEAR

    pieces: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces < 1:
            raise LitmusError(f"velora: pieces is at least 1, not {self.pieces}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"velora_config": {"num_groups": min(self.pieces, shape[1])}}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):
            layer.forward = MethodType(_kept, layer)


def _kept(layer: Any, x: Tensor) -> Tensor:
    a, y = layer.lora_A[ADAPTER].weight, layer.base_layer(x)
    z = x.to(a.dtype)
    h, *_ = _Kept.apply(z, a, layer.lora_velora_num_groups[ADAPTER])
    return y + (layer.lora_B[ADAPTER](h) * layer.scaling[ADAPTER]).to(y.dtype)


class _Kept(torch.autograd.Function):
    """x (..., in), A (r, in) -> A x (..., r); backward has one number for each of x's pieces, and their basis v."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, a: Tensor, pieces: int) -> tuple[Tensor, Tensor, Tensor]:
        length = -(-x.shape[-1] // pieces)
        cut = F.pad(x, (0, pieces * length - x.shape[-1])).unflatten(-1, (pieces, length))
        mean = cut.flatten(0, -2).mean(0)
        norm = mean.norm()
        v = torch.where(norm > 0, mean / norm.clamp_min(1e-30), length**-0.5)
        return F.linear(x, a), cut @ v, v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:], inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *saved, a = ctx.saved_tensors  # once: checkpointing gives them out once
        numbers, v, grad = (t.to(a.dtype) for t in (*saved, grads[0]))  # autocast made them narrow
        x = (numbers[..., None] * v).flatten(-2)[..., : a.shape[-1]]
        return grad @ a, grad.flatten(0, -2).mT @ x.flatten(0, -2), None


@register
@dataclass(frozen=True)
class BDLoRA(LowRank):
    """LoRA with one block-diagonal factor: B, but A in the layers that close a sub-layer.

    Wang, Kubler, Budhathoki, Wang, Kleindessner, "Block-Diagonal LoRA for Eliminating Communication Overhead in Tensor
    Parallel LoRA Serving", NeurIPS 2025, arXiv:2510.23346. So the layers of a sub-layer can be parted among devices
    without a word between them; here only what that costs in quality can be seen. The rank is taken up to the next
    multiple of blocks.
    blocks  of the factor; the largest divisor of its long side not above it is taken
    closing the role among targets whose A is block-diagonal, peft's advice for output and down projections
    """

    name = "bdlora"
    paper = "arXiv:2510.23346"
    formula = "W' = W + (alpha / rank) B A, with B = blockdiag(B_1 .. B_n), at closing layers A = blockdiag(A_1 .. A_n)"
    kinds = LINEAR
    packable = False  # peft adds in place to the base layer's output

    blocks: int = 2
    closing: str = "attn.to_out+ff.down"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise LitmusError(f"bdlora: blocks is at least 1, not {self.blocks}")

    def _plan(self, net: Network) -> dict[str, tuple[bool, int, int]]:
        """For each layer's path: whether its A is the one in blocks, how many, and the rank."""
        known = sites(net.denoiser, self.closing, optional=True)
        found = {}
        for path, layer in self.layers(net).items():
            blocks = divisor(self.blocks, shape_of(layer)[path in known])
            found[path] = path in known, blocks, -(-self.rank // blocks) * blocks
        return found

    def attach(self, net: Network, rng: torch.Generator) -> None:
        groups: dict[tuple[bool, int, int], list[str]] = {}
        for path, way in self._plan(net).items():
            groups.setdefault(way, []).append(path)
        with drawn_from(rng):
            for (closing, blocks, rank), paths in groups.items():
                # "" is in every name: all of these layers, and only these, are wrapped now.
                config = {"nblocks": blocks, "target_modules_bd_a" if closing else "target_modules_bd_b": [""]}
                alpha = rank if self.alpha is None else self.alpha
                wrap(net.denoiser, self.config, paths, {"r": rank, "lora_alpha": alpha, "use_bdlora": config})

    def count(self, net: Network) -> int:
        layers, total = self.layers(net), 0
        for path, (closing, blocks, rank) in self._plan(net).items():
            out, in_ = shape_of(layers[path])
            total += rank * (out + in_ // blocks if closing else out // blocks + in_)
        return total
