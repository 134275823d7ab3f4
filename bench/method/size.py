"""The size that comes nearest to a number of scalars, for methods whose count rises, falls or jumps with their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

from bench.core.errors import LitmusError

TOP = 2**24  # no method has a size beyond this
GLANCES = 8  # the same, where no size of its octave is known yet
TRIES = 32  # neighbours looked at where a size is refused (a block size that must divide every width)
HALVINGS = 40  # of a bracket between two fractions


def nearest_size(count: Callable[[float], int], wanted: int, whole: bool) -> float:
    """The size whose `count` comes nearest to `wanted`, the smallest of equals.

    Sizes are whole numbers from 1, or with `whole` False numbers above 0 up to 1. `count` may rise or fall with the
    size, stand still between steps, and raise LitmusError for a size that cannot be. Raises LitmusError when none of
    the sizes tried can be.
    """
    seen: dict[float, int] = {}
    reasons: list[str] = []

    @cache
    def at(size: float) -> int | None:
        try:
            seen[size] = count(size)
        except LitmusError as error:
            reasons.append(str(error))
            return None
        return seen[size]

    for low, high in _brackets(at, wanted, whole):
        _narrow(at, low, high, wanted, whole)
    if not seen:
        raise LitmusError(reasons[0])
    if whole:
        _edge(at, int(_nearest(seen, wanted)))
    return _nearest(seen, wanted)


def _nearest(seen: dict[float, int], wanted: int) -> float:
    return min(seen, key=lambda size: (abs(seen[size] - wanted), size))


def _edge(at: Callable[[float], int | None], best: int) -> None:
    """Look at the size below the plateau that `best` stands on: there a count may fall back from something higher."""
    low, high = best // 2, best
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) == at(best) else (middle, high)
    if low:
        at(low)


def _brackets(at: Callable[[float], int | None], wanted: int, whole: bool) -> Iterator[tuple[float, float]]:
    """The first pair of neighbouring octaves between which the count passes `wanted`; none if it never does."""
    size, last = (1 if whole else 2.0**-24), None
    still = refused = 0
    first = True
    while size <= (TOP if whole else 1):
        here, now = size, at(size)
        if now is None and whole and (other := _possible(at, size - 1, 2 * size, GLANCES)) is not None:
            here, now = other, at(other)
        if now is None:
            refused += 1
            if refused > (3 if last is not None else 12):  # sizes beyond the network's own widths
                return
        else:
            refused = 0
            if now == wanted:
                return
            if last is not None:
                before = at(last) or 0
                if (before - wanted) * (now - wanted) < 0:
                    yield last, here
                    return
                still = still + 1 if now == before else 0
                if (still > 3 and not first) or (before > wanted and now > before):
                    return
                first = first and now == before  # a step may be wide where it begins
            last = here
        size *= 2


def _narrow(at: Callable[[float], int | None], low: float, high: float, wanted: int, whole: bool) -> None:
    """Halve the bracket, looking at the neighbours of a size that is refused."""
    side = math.copysign(1, (at(low) or 0) - wanted)
    for _ in range(HALVINGS):
        middle = _possible(at, low, high) if whole else math.sqrt(low * high)
        if middle is None or middle in (low, high):
            return
        now = at(middle)
        if now is None or now == wanted:
            return
        low, high = (middle, high) if math.copysign(1, now - wanted) == side else (low, middle)


def _possible(at: Callable[[float], int | None], low: float, high: float, tries: int = TRIES) -> float | None:
    """A size strictly between `low` and `high` that is not refused, as near to their middle as there is."""
    middle = int(low + high) // 2
    for step in range(tries):
        for size in {middle - step, middle + step}:
            if low < size < high and at(size) is not None:
                return size
    return None
