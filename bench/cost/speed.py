"""Seconds, as a median with its spread. Compare only what was timed on one machine in one go."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Speed:
    """seconds: median of one call; iqr: third minus first quartile; calls: how many were timed."""

    seconds: float
    iqr: float
    calls: int

    @property
    def per_second(self) -> float:
        return 1 / self.seconds


def timed(work: Callable[[], object], warmup: int = 10, calls: int = 50) -> Speed:
    """Time `work()`; the first `warmup` calls are thrown away (allocator, autotuning, caches)."""
    return interleaved({"": work}, warmup, calls)[""]


def interleaved(works: Mapping[str, Callable[[], object]], warmup: int = 10, calls: int = 50) -> dict[str, Speed]:
    """Time several works in turns, A B A B, so that a machine that warms up or is shared slows all of them alike."""
    if calls < 2:
        raise ValueError(f"a spread needs at least 2 calls, not {calls}")
    spans: dict[str, list[float]] = {name: [] for name in works}
    for i in range(warmup + calls):
        for name, work in works.items():
            _wait()
            start = time.perf_counter()
            work()
            _wait()
            if i >= warmup:
                spans[name].append(time.perf_counter() - start)
    return {name: _summary(seconds) for name, seconds in spans.items()}


def _summary(seconds: list[float]) -> Speed:
    first, median, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return Speed(median, third - first, len(seconds))


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # a kernel that is only queued has taken no time yet
