"""Tuners that train chosen entries of the weight, or numbers inside its singular parts. Imported by methods/hub.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Network, register
from methods._peft import ADAPTER, Shape, Tuner, part_holders, shape_of, wrapped


@register
@dataclass(frozen=True)
class SHiRA(Tuner):
    """Train the entries of the weight at places drawn once from projection_seed, as many as LoRA of this rank has.

    Bhardwaj, Pandey, Priyadarshi, Ganapathy, Kadambi, Esteves, Borse, Whatmough, Garrepalli, van Baalen, Teague,
    Nagel, "Sparse High Rank Adapters", NeurIPS 2024, arXiv:2406.13175, section 3.1 (SHiRA-Rand). The rank stops where
    all entries are trained.
    """

    name = "shira"
    paper = "arXiv:2406.13175, section 3.1"
    config = "ShiraConfig"
    solid = True
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "W' = W + S, S sparse at fixed random places"

    rank: int = 4
    projection_seed: int = 0

    def _rank(self, shape: Shape) -> int:
        return min(self.rank, shape[0] * shape[1] // sum(shape))

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self._rank(shape), "random_seed": self.projection_seed}

    def size(self, shape: Shape) -> int:
        return self._rank(shape) * sum(shape)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):  # peft's sparse tensors have no batched form, and torch warns of them
            layer.get_delta_weight = MethodType(_entries, layer)
            layer.forward = MethodType(_with_entries, layer)


def _entries(layer: Any, adapter: str) -> Tensor:
    places = layer.shira_indices[adapter].long().to(layer.weight.device)
    return torch.zeros_like(layer.weight).index_put(tuple(places), layer.shira_weight[adapter])


def _with_entries(layer: Any, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight + _entries(layer, ADAPTER), layer.bias)


@register
@dataclass(frozen=True)
class Supertuning(Tuner):
    """Train the largest entries of each weight.

    Ilin, Zmushko, Richtarik, "Super-Tuning: From Activation-Aware Pruning to Sparse Fine-Tuning", 2026,
    arXiv:2607.09287; paper not read, as peft's tuner. Its low-rank addition is left out here.
    share  of the entries that are trained
    """

    name = "supertuning"
    paper = "arXiv:2607.09287"
    config = "SupertuningConfig"
    lr = 1e-3
    space = {"lr": (1e-5, 1e-2, "log"), "share": (0.0005, 0.5, "log")}
    size_field = "share"
    formula = "W' = W + S, S sparse at the largest |W|"

    share: float = 0.01

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"sparsity": 1 - self.share}

    def size(self, shape: Shape) -> int:
        return int(shape[0] * shape[1] * (1 - (1 - self.share)))  # rounded as peft rounds


@register
@dataclass(frozen=True)
class TinyLoRA(Tuner):
    """A few trained numbers for each layer, spread by frozen random matrices between its largest singular vectors.

    Morris, Mireshghallah, Ibrahim, Mahloujifar, "Learning to Reason in 13 Parameters", 2026, arXiv:2602.04118; paper
    not read, as peft's tuner.
    scalars  trained numbers for each group of layers
    tying    0: each layer is a group of its own; towards 1, neighbouring layers share
    """

    name = "tinylora"
    paper = "arXiv:2602.04118"
    config = "TinyLoraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "scalars": (1, 1024, "log")}
    size_field = "scalars"
    formula = "W' = W + U_r S_r^(1/2) (sum_i v_i P_i) S_r^(1/2) V_r^T, P_i random and frozen"

    scalars: int = 64
    rank: int = 2
    tying: float = 0.0
    projection_seed: int = 42

    def settings(self, shape: Shape) -> dict[str, Any]:
        more = {"weight_tying": self.tying, "projection_seed": self.projection_seed}
        return {"r": self.rank, "u": self.scalars} | more

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):  # each layer gets hold of the vector it uses, and of no other
            key = layer._tinylora_v_key[ADAPTER]
            own = nn.ParameterDict({key: layer.tinylora_v[ADAPTER][key]})
            layer.tinylora_v = nn.ModuleDict({ADAPTER: own})

    def count(self, net: Network) -> int:
        layers = len(self.layers(net))
        groups = max(1, round(layers * (1 - self.tying)))
        size = max(1, layers // groups)
        return self.scalars * len({min(i // size, groups - 1) for i in range(layers)})


@register
@dataclass(frozen=True)
class UniLoRA(Tuner):
    """One trained vector from which every entry of every layer's LoRA factors is looked up, at frozen random places.

    Li, Han, Su, Li, Cai, Ji, "Uni-LoRA: One Vector is All You Need", NeurIPS 2025, arXiv:2506.00799. The vector starts
    at random, so both factors do, and the start is not the base.
    length  of the vector; it stops at the number of entries that are looked up
    bound   the vector starts uniform within it; peft's is 0.02, from which a few layers hardly leave the base
    """

    name = "unilora"
    paper = "arXiv:2506.00799"
    config = "UniLoraConfig"
    solid = True
    lr = 5e-3
    space = {"lr": (1e-4, 1e-1, "log"), "length": (64, 1_000_000, "log")}
    size_field = "length"
    formula = "W' = W + B A, (A, B of all layers) = P theta, P random, one entry a row"
    exact_start = False

    length: int = 256
    rank: int = 4
    bound: float = 0.1
    projection_seed: int = 42

    def common(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        more = {"proj_seed": self.projection_seed, "init_theta_d_bound": self.bound}
        return {"r": self.rank, "theta_d_length": self._length(shapes)} | more

    def _length(self, shapes: Sequence[Shape]) -> int:
        return min(self.length, self.rank * sum(map(sum, shapes)))

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        part_holders(net, "unilora_theta_d")

    def count(self, net: Network) -> int:
        return self._length([shape_of(layer) for layer in self.layers(net).values()])


@register
@dataclass(frozen=True)
class FRoD(Tuner):
    """Train the singular values of a joint decomposition, and a few entries beside the diagonal.

    Wan, Chen, Feng, Zhou, Xu, "FRoD: Full-Rank Efficient Fine-Tuning with Rotational Degrees for Fast Convergence",
    AAAI 2026, arXiv:2512.23485; paper not read, as peft's tuner. V is common to the layers of one name and width, U and
    L follow from W. The layer computes U (L + S) V^T in place of W, so the start is the base but for rounding. peft
    tells layers apart by the first number in their path; where two have the same, V is made from the last. On the meta
    device V, which needs the weights, is made from zeros.
    share  of the (in, in) entries that S trains; their places come from projection_seed
    """

    name = "frod"
    paper = "arXiv:2512.23485"
    config = "FrodConfig"
    solid = True
    lr = 1e-3
    space = {"lr": (1e-5, 1e-2, "log"), "share": (0.0005, 0.5, "log")}
    size_field = "share"
    formula = "W' = U (L + S) V^T, L diagonal, S sparse"

    share: float = 0.01
    projection_seed: int = 0

    def settings(self, shape: Shape) -> dict[str, Any]:
        key = {"projection_prng_key": self.projection_seed}
        return {"sparse_rate": self.share, "progressbar": False} | key

    def group(self, path: str, layer: nn.Module, keywords: dict[str, Any]) -> str:
        name = re.sub(r"\d+", "", path.rpartition("blocks.")[2])  # one V for layers alike in name and width
        return f"{name} {shape_of(layer)[1]}"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):  # as in SHiRA
            layer.get_delta_weight = MethodType(_joint_delta, layer)
            layer.forward = MethodType(_joint, layer)

    def size(self, shape: Shape) -> int:
        wide = shape[1]
        return wide + max(1, min(int(wide * wide * self.share), wide * wide - wide))


def _joint_tensors(layer: Any, like: Tensor) -> tuple[Tensor, ...]:
    """U (out, in), V (in, in), the diagonal of L (in,), rows, columns and values of S."""
    rows, columns = layer.frod_s_indices[ADAPTER].to(like.device)
    u, v = (getattr(layer, key)[ADAPTER].to(like) for key in ("frod_U", "frod_V"))
    return u, v, layer.frod_lambda_l[ADAPTER].to(like), rows, columns, layer.frod_lambda_s_values[ADAPTER].to(like)


def _joint(layer: Any, x: Tensor) -> Tensor:
    u, v, diagonal, rows, columns, values = _joint_tensors(layer, x)
    z = x @ v
    beside = (z[..., columns] * values).to(z.dtype)
    z = (z * diagonal).to(z.dtype) + torch.zeros_like(z).index_add(-1, rows, beside)
    return F.linear(z, u, layer.bias)


def _joint_delta(layer: Any, adapter: str) -> Tensor:
    u, v, diagonal, rows, columns, values = _joint_tensors(layer, layer.weight)
    middle = torch.diag_embed(diagonal).index_put((rows, columns), values, accumulate=True)
    return u @ middle @ v.mT - layer.weight
