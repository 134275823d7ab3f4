"""Counts of scalars, and the bytes that follow from them alone."""

from __future__ import annotations

from torch import nn

from bench.method import Figures, figures, state

__all__ = ["Figures", "bytes_disk", "figures", "training_bytes"]


def bytes_disk(net: nn.Module) -> int:
    """Size in bytes of the safetensors file of what is trainable in `net`, its header included."""
    from safetensors.torch import save

    return len(save({key: p.contiguous() for key, p in state(net).items()}))


def training_bytes(scalars: int, trainable: int, width: int = 4) -> dict[str, int]:
    """Bytes that AdamW training holds whatever the batch: weights, gradients, and two moments per trained scalar.

    `scalars` counts the whole network, `trainable` a part of it; `width` is 4 for fp32, 2 for bf16. Activations are
    not in it: they hang on batch, resolution and where in the graph the trained part lies; `peak` sees them.
    """
    return {"weights": width * scalars, "gradients": width * trainable, "moments": 2 * width * trainable}
