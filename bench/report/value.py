"""The text of one value: numbers, rates, bytes, intervals."""

from __future__ import annotations

import math

from bench.report.sheet import DASH
from bench.study.stats import Interval


def number(x: float | None, digits: int = 2) -> str:
    """Fixed digits; a dash for nan; never a negative zero."""
    if x is None or not math.isfinite(x):
        return DASH
    text = f"{x:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def rate(x: float) -> str:
    """A learning rate: 2e-3."""
    if not math.isfinite(x):
        return DASH
    digits, power = f"{x:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def counted(x: float) -> str:
    return f"{int(x):,}" if math.isfinite(x) else DASH


def rough(x: float) -> str:
    """A count with three significant digits: 73.7k, 16.5M."""
    if not math.isfinite(x):
        return DASH
    for unit in ("", "k", "M", "G"):
        if x < 999.5 or unit == "G":
            return f"{x:.0f}" if not unit else f"{x:.{max(0, 2 - int(math.log10(max(x, 1))))}f}{unit}"
        x /= 1000
    raise AssertionError("unreachable")


def size(x: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    if not math.isfinite(x):
        return DASH
    for unit in ("B", "KiB", "MiB", "GiB"):
        if x < 1000 or unit == "GiB":
            return f"{x:.0f} {unit}" if unit == "B" or x >= 100 else f"{x:.1f} {unit}"
        x /= 1024
    raise AssertionError("unreachable")


def percent(share: float) -> str:
    """A share as percent with two significant digits."""
    return DASH if not math.isfinite(share) else f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def ranged(x: Interval, digits: int = 2) -> str:
    """`0.72 [0.64, 0.81]`, or the value alone where there is no interval."""
    if not x.half > 1e-9:
        return number(x.value, digits)
    return f"{number(x.value, digits)} [{number(x.low, digits)}, {number(x.high, digits)}]"


def plusminus(x: Interval, digits: int = 2) -> str:
    """`0.72 ±0.09`, or the value alone where there is no interval."""
    if not x.half > 1e-9:
        return number(x.value, digits)
    return f"{number(x.value, digits)} ±{number(x.half, digits)}"
