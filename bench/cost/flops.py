"""Theoretical FLOPs: 2 m n k per matrix product, convolutions and attention likewise, everything else free.

Counted from shapes by the formulas of torch's own counter, so the number is the same everywhere, on the meta device
too; it is not what a device executes, and not multiply-adds.
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
    rule = flop_registry.get(func._overloadpacket)
    return 0 if rule is None else rule(*args, **kwargs, out_val=out)


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
