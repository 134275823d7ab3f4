"""FRoD: peft's decomposition, with a forward of our own that can be packed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Network, register
from methods._peft import ADAPTER, Shape, Tuner, shape_of, wrapped


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
        for _, layer in wrapped(net.denoiser):  # peft's sparse tensors have no batched form, and torch warns of them
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
