"""OSF: peft's decomposition, with the projection of gradients done here so that a copy keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.method import Network, register
from methods._peft import ADAPTER, Shape, Tuner, wrapped


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
