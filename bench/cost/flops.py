"""Theoretical FLOPs: 2 m n k per matrix product, convolutions and attention likewise, everything else free.

Counted from shapes, so the number is the same everywhere, on the meta device too; it is not what a device executes, and
not multiply-adds. Products and convolutions by the formulas of torch's own counter, fused attention by a rule of our
own: which of its kernels torch's counter knows differs from release to release (the CPU's only the newest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def flops(work: Callable[[], object]) -> int:
    """Theoretical FLOPs of `work()`, backward included where `work` calls it."""
    with _Counter() as counter:
        work()
    return counter.total


def cost_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Theoretical FLOPs of one operation that a dispatch mode has seen; 0 for what is free."""
    if (product := _attention(func, args, kwargs)) is not None:
        return product
    rule = flop_registry.get(func._overloadpacket)
    return 0 if rule is None else rule(*args, **kwargs, out_val=out)


def _attention(func: Any, args: Any, kwargs: Any) -> int | None:
    """FLOPs of a fused attention kernel, forward or backward; None for any other operation.

    With query (B, H, S, E), key (B, G, L, E), value (B, G, L, D): forward two products, scores Q K^T and scores V,
    2 B H S L (E + D). Backward five: the scores again, since no kernel keeps them, then the gradients of scores and
    value (D each) and of query and key (E each), 2 B H S L (3 E + 2 D). Dao et al., "FlashAttention", NeurIPS 2022,
    arXiv:2205.14135, algorithms 1 and 4. Masks and causality are not taken off: the products are counted whole.
    """
    name = func._overloadpacket.__name__
    if not name.startswith("_scaled_dot_product") or "math" in name:
        return None
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | (kwargs or {})
    query, key, value = (given[part].shape for part in ("query", "key", "value"))
    batch, heads, rows, wide = query
    pairs = batch * heads * rows * key[-2]
    e, d = (3, 2) if name.endswith("_backward") else (1, 1)
    return 2 * pairs * (e * wide + d * value[-1])


class _Counter(TorchDispatchMode):
    # torch's FlopCounterMode also says which module spent what; its hooks on every module cost more than the counting.
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.total += cost_of(func, args, kwargs, out)
        return out
