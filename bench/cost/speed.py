"""Seconds, as a median with its spread. Compare only what was timed on one machine in one go."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
    """Time several works in turns and sum each up."""
    if calls < 2:
        raise ValueError(f"a spread needs at least 2 calls, not {calls}")
    return {name: _summary(seconds) for name, seconds in spans(works, warmup, calls).items()}


def spans(works: Mapping[str, Callable[[], object]], warmup: int, calls: int) -> dict[str, list[float]]:
    """Seconds of every call, taken in turns, A B A B, so that a machine that warms up or is shared slows all alike."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for i in range(warmup + calls):
        for name, work in works.items():
            if i < warmup:
                work()
            else:
                spent[name].append(clocked(work))
    return spent


def clocked(work: Callable[[], object]) -> float:
    """Seconds of one call, the device's queue emptied before and after."""
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Ratio:
    """How many times as long, with its 95 % interval over paired blocks; the interval is None for a single block."""

    mean: float
    low: float | None
    high: float | None
    blocks: int


def ratio(mine: Sequence[float], reference: Sequence[float], blocks: int) -> Ratio:
    """`mine` over `reference`, calls that were taken in turns: geometric mean over `blocks` of consecutive calls.

    Within a block medians are compared, so one disturbed call moves nothing. Blocks are the units of the interval
    (Student's t on the logarithms), since neighbouring calls are not independent. Calls left over are not used.
    """
    each = min(len(mine), len(reference)) // blocks
    if blocks < 1 or each < 1:
        raise ValueError(f"{len(mine)} calls make no {blocks} blocks")
    medians = [[statistics.median(x[i * each : (i + 1) * each]) for x in (mine, reference)] for i in range(blocks)]
    logs = [math.log(a / b) for a, b in medians]
    mean = statistics.fmean(logs)
    if blocks == 1:
        return Ratio(math.exp(mean), None, None, 1)
    from scipy.stats import t

    half = float(t.ppf(0.975, blocks - 1)) * statistics.stdev(logs) / math.sqrt(blocks)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), blocks)


def _summary(seconds: list[float]) -> Speed:
    first, median, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return Speed(median, third - first, len(seconds))


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # a kernel that is only queued has taken no time yet
