"""Theoretical FLOPs: 2 m n k per matrix product, convolutions and attention likewise, everything else free.

Counted from shapes by torch's own counter, so the number is the same everywhere; it is not what a device executes, and
not multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def flops(work: Callable[[], object]) -> int:
    """Theoretical FLOPs of `work()`, backward included where `work` calls it."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
