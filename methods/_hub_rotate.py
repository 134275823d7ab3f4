"""Tuners that turn the weight, or train inside its own singular parts. Imported by methods/hub.py."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import LitmusError, Network, register
from methods._peft import ADAPTER, LINEAR_CONV, Shape, Tuner, divisor, wrapped


@register
@dataclass(frozen=True)
class OFT(Tuner):
    """A block-diagonal rotation of each layer's input.

    Qiu, Liu, Feng, Xue, Feng, Liu, Zhang, Weller, Scholkopf, "Controlling Text-to-Image Diffusion by Orthogonal
    Finetuning", NeurIPS 2023, arXiv:2306.07280, section 3.3. The Cayley transform's inverse is a Neumann sum of five
    terms, peft's default (OFTv2, arXiv:2506.19847), so that R is orthogonal only near the start.
    block  size of a block; the largest divisor of the input not above it is taken
    """

    name = "oft"
    paper = "arXiv:2306.07280, section 3.3"
    config = "OFTConfig"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "block": (2, 256, "log")}
    size_field = "block"
    formula = "W' = W R^T, R = blockdiag((I + Q)(I - Q)^-1), Q skew-symmetric"
    packable = False  # peft fills Q's entries in place

    block: int = 8

    def _block(self, shape: Shape) -> int:
        return divisor(self.block, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": 0, "oft_block_size": self._block(shape)}

    def size(self, shape: Shape) -> int:
        return shape[1] * (self._block(shape) - 1) // 2


@register
@dataclass(frozen=True)
class BOFT(Tuner):
    """A block-diagonal rotation of each layer's input, and a trained scale on each output.

    Liu, Qiu, Feng, Xiu, Xue, Yu, Feng, Liu, Heo, Peng, Wen, Black, Weller, Scholkopf, "Parameter-Efficient Orthogonal
    Finetuning via Butterfly Factorization", ICLR 2024, arXiv:2311.06243, section 4. One butterfly factor: peft does
    more only with its own CUDA extension, and bends the setting to one without it.
    block  size of a block; the largest divisor of the input not above it is taken
    """

    name = "boft"
    paper = "arXiv:2311.06243, section 4"
    config = "BOFTConfig"
    solid = True
    kinds = LINEAR_CONV
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "block": (2, 64, "log")}
    size_field = "block"
    formula = "W' = diag(s) W R^T, R = blockdiag((I - Q)(I + Q)^-1), Q = (P - P^T) / 2"

    block: int = 4

    def _block(self, shape: Shape) -> int:
        return divisor(self.block, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"boft_block_size": self._block(shape), "boft_block_num": 0, "boft_n_butterfly_factor": 1}

    def size(self, shape: Shape) -> int:
        return shape[1] * self._block(shape) + shape[0]


@register
@dataclass(frozen=True)
class HRA(Tuner):
    """A chain of trained reflections of each layer's input.

    Yuan, Liu, Xu, "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
    NeurIPS 2024, arXiv:2405.17484. Neighbouring pairs start alike and cancel, so an odd rank does not start
    at the base.
    """

    name = "hra"
    paper = "arXiv:2405.17484"
    config = "HRAConfig"
    kinds = LINEAR_CONV
    lr = 2e-3
    space = {"lr": (1e-4, 2e-2, "log"), "rank": (2, 64, "log")}
    size_field = "rank"
    formula = "W' = W prod_k (I - 2 u_k u_k^T / |u_k|^2)"

    rank: int = 8

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.rank % 2 == 0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}

    def size(self, shape: Shape) -> int:
        return self.rank * shape[1]


@register
@dataclass(frozen=True)
class RoAd(Tuner):
    """A rotation and a scale of each pair of outputs.

    Liao, Monz, "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability", NeurIPS
    2024, arXiv:2409.00119, section 3.2, equation 3 and table 1. There pairs are neighbours; peft pairs across groups.
    variant  1, 2 or 4: angles and scales are shared by the pair, by each output, or not at all
    group    pairs are taken across the two halves of each group of outputs; the largest even divisor of out not above
             it is taken
    """

    name = "road"
    paper = "arXiv:2409.00119, section 3.2"
    config = "RoadConfig"
    lr = 3e-3
    space = {"lr": (3e-4, 3e-2, "log")}
    formula = "y' = R y for each pair of outputs, R = scale [[cos, -sin], [sin, cos]]"

    variant: int = 1
    group_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in (1, 2, 4):
            raise LitmusError(f"road: variant is 1, 2 or 4, not {self.variant}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        if shape[0] % 2:
            raise LitmusError(f"road turns pairs of outputs, and a layer has {shape[0]} of them: narrow targets")
        return {"variant": f"road_{self.variant}", "group_size": 2 * divisor(self.group_size / 2, shape[0] // 2)}

    def size(self, shape: Shape) -> int:
        return self.variant * shape[0]


@register
@dataclass(frozen=True)
class PSOFT(Tuner):
    """A rotation inside the space of the weight's largest singular parts, with two scales.

    Wu, Hu, Min, Wang, "Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation", ICLR 2026,
    arXiv:2505.11235, section 4.3, equation 8. A and B come from W's singular value decomposition and are frozen. The
    rank stops at min(out, in).
    """

    name = "psoft"
    paper = "arXiv:2505.11235, section 4.3"
    config = "PsoftConfig"
    lr = 2e-3
    space = {"lr": (1e-4, 2e-2, "log"), "rank": (2, 128, "log")}
    size_field = "rank"
    formula = "W' = W + B (diag(b) R diag(a) - I) A, B A = U_r S_r V_r^T of W, R orthogonal"

    rank: int = 8

    def _rank(self, shape: Shape) -> int:
        return min(self.rank, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self._rank(shape), "psoft_alpha": self._rank(shape)}

    def size(self, shape: Shape) -> int:
        r = self._rank(shape)
        return r * (r - 1) // 2 + 2 * r


@register
@dataclass(frozen=True)
class OSF(Tuner):
    """Train the weight's smaller singular parts, and keep their gradients away from the larger ones.

    Nayak, Killamsetty, Han, Bhandwaldar, Chanda, Xu, Wang, Pareja, Silkin, Eyceoz, Srivastava, "Sculpting Subspaces:
    Constrained Full Fine-Tuning in LLMs for Continual Learning", 2025, arXiv:2504.07097.
    share  of the singular parts that are trained; at least one is kept
    """

    name = "osf"
    paper = "arXiv:2504.07097"
    config = "OSFConfig"
    lr = 3e-4
    space = {"lr": (1e-5, 3e-3, "log"), "share": (0.01, 0.9, "log")}
    size_field = "share"
    formula = "W' = U_high S_high V_high^T + U S V^T, dU kept orthogonal to U_high, dV to V_high"

    share: float = 0.25

    def _trained(self, shape: Shape) -> int:
        return min(max(round(self.share * min(shape)), 1), min(shape) - 1)

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"effective_rank": min(shape) - self._trained(shape)}

    def size(self, shape: Shape) -> int:
        return self._trained(shape) * (sum(shape) + 1)

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):
            # peft projects the gradient by hooks on the tensors, which a copy of the network would lose.
            layer._detach_hooks()
            layer.forward = MethodType(_sculpted, layer)


def _sculpted(layer: Any, x: Tensor) -> Tensor:
    """W x + (U S V - U0 S0 V0) x, with gradients only along the directions that are free."""
    theta = layer.osf_svd_params[ADAPTER]
    u0, s0, v0 = (getattr(layer, f"_osf_{key}_low_init")[ADAPTER] for key in "USV")
    u, v = theta["U_low"], theta["V_low"]  # (out, k), (k, in)
    u = u.detach() + _free(u - u.detach(), layer._osf_U_high, u0)
    v = v.detach() + _free((v - v.detach()).mT, layer._osf_V_high, v0.mT, transposed=True).mT
    z = x.to(u.dtype)
    change = F.linear(F.linear(z, v) * theta["S_low"], u) - F.linear(F.linear(z, v0) * s0, u0)
    y = layer.base_layer(x)
    return y + change.to(y.dtype)


def _free(step: Tensor, high: Any, low: Tensor, transposed: bool = False) -> Tensor:
    """`step` (n, k) without its part in the space of the larger singular vectors.

    peft keeps those only for the longer side of W; on the other, what they leave is the space of the smaller ones.
    """
    if ADAPTER not in high:
        return low @ (low.mT @ step)
    kept = high[ADAPTER].mT if transposed else high[ADAPTER]  # (n, m - k)
    return step - kept @ (kept.mT @ step)
