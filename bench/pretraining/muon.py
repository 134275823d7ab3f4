"""Muon for matrices and convolutions, AdamW for the rest: fewer steps for the same base on a slow machine.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. The update is scaled by
0.2 * sqrt(max(out, in)), so that AdamW's learning rate carries over: Liu et al., "Muon is scalable for LLM training",
arXiv:2502.16982, section 2.2.
Used only to train the pocket base and its evaluators, never in a benchmarked cell.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor, nn


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz iteration towards the nearest semi-orthogonal matrix; g (out, in)."""
    a, b, c = 3.4445, -4.7750, 2.0315  # quintic coefficients of the reference implementation
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Groups with `muon=True` take orthogonalised momentum, the others AdamW (betas 0.9, 0.99)."""

    def __init__(self, net: nn.Module, lr: float, weight_decay: float = 0.01, skip: tuple[str, ...] = ()):
        hidden, rest = [], []
        for name, p in net.named_parameters():
            if p.requires_grad:
                matrix = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 16 and not any(s in name for s in skip)
                (hidden if matrix else rest).append(p)
        groups = [{"params": hidden, "muon": True}, {"params": rest, "muon": False}]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure=None, pool: Executor | None = None) -> None:  # type: ignore[override]
        """One step; with `pool` the tensors are updated side by side."""
        jobs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _ in (pool.map if pool else map)(self._update, *zip(*jobs, strict=True)):
            pass

    @torch.no_grad()
    def _update(self, group: dict, p: Tensor) -> None:
        lr, state, grad = group["lr"], self.state[p], p.grad
        assert grad is not None
        if not state:
            state["n"], state["m"] = 0, torch.zeros_like(p)
            if not group["muon"]:
                state["v"] = torch.zeros_like(p)
        state["n"] += 1
        if group["muon"]:
            state["m"].lerp_(grad, 0.05)
            g = torch.lerp(grad, state["m"], 0.95).flatten(1)  # Nesterov
            scale = 0.2 * max(g.shape) ** 0.5
            p.mul_(1 - lr * group["weight_decay"]).add_(orthogonalise(g).view_as(p), alpha=-lr * scale)
        else:
            state["m"].lerp_(grad, 0.1)
            state["v"].mul_(0.99).addcmul_(grad, grad, value=0.01)
            m = state["m"] / (1 - 0.9 ** state["n"])
            v = (state["v"] / (1 - 0.99 ** state["n"])).sqrt_().add_(1e-8)
            p.addcdiv_(m, v, value=-lr)
