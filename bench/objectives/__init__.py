"""Objectives: what a training step minimises. OBJECTIVES[name](net, batch, schedule) -> loss per sample (B,)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.objectives.batch import Batch
from bench.objectives.plain import plain
from bench.objectives.prior import prior

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network
    from bench.network.schedule import Schedule

__all__ = ["NEEDS_CLASSES", "OBJECTIVES", "Batch", "Objective"]

Objective = Callable[["Network", Batch, "Schedule"], "Tensor"]

OBJECTIVES: dict[str, Objective] = {"plain": plain, "prior": prior}
NEEDS_CLASSES = {"prior"}  # objectives whose batches carry pictures of the plain class
