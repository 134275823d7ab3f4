"""LoRA with starts computed from batches of the task's pictures: EVA, CorDA, LoRA-GA.

Without data each starts as LoRA does, which also is what a stored state is loaded into. EVA moves only A, which is
trained and stored. CorDA and LoRA-GA also cut their start out of the base's weight, so their state fits a network that
was attached with the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import Loss, Network
from methods._lowrank import Cut
from methods._peft import ADAPTER


@dataclass(frozen=True)
class Informed(Cut):
    """LoRA whose start looks at data; the rank stops at min(out, in)."""

    needs_data = True


@torch.no_grad()
def moments(net: Network, layers: dict[str, nn.Module], losses: Sequence[Loss]) -> dict[str, Tensor]:
    """X^T X / rows (in, in) over all inputs X (rows, in) of each layer."""
    sums: dict[str, Tensor] = {}
    rows = dict.fromkeys(layers, 0)

    def look(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach().flatten(0, -2).float()
            sums[path] = sums.get(path, 0) + x.mT @ x
            rows[path] += len(x)

        return hook

    handles = [layer.register_forward_pre_hook(look(path)) for path, layer in layers.items()]
    try:
        for loss in losses:
            loss(net)
    finally:
        for handle in handles:
            handle.remove()
    return {path: total / rows[path] for path, total in sums.items()}


@torch.no_grad()
def cut(layer: Any, a: Tensor, b: Tensor) -> None:
    """Start the layer at factors a (r, in), b (out, r), and take their product out of the base's weight."""
    layer.lora_A[ADAPTER].weight.copy_(a)
    layer.lora_B[ADAPTER].weight.copy_(b)
    base = layer.get_base_layer().weight
    base.data = (base.float() - layer.get_delta_weight(ADAPTER).float()).to(base.dtype)
