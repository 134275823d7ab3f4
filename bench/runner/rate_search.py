"""A search for a learning rate that is the same for every method: three rates a decade apart, then closing in.

A grid fixed beforehand is fair only where its centre is right, and for most methods the usual rate was found on
another base with another budget. So every method gets three rates, its own and a decade on either side; then the one
half a decade beside the best, on the side of the better neighbour; and as long as the best lies at the edge of what
was tried, the next one outward. The rule looks at scores of tuning tasks only and gives every method four tries, up to
`LIMIT` at an edge.
"""

from __future__ import annotations

from collections.abc import Mapping

COARSE = (-2, 0, 2)  # in half decades from the method's own rate
TRIES = 4
LIMIT = 7  # at an edge


def rate(centre: float, halves: int) -> float:
    """`centre` moved by `halves` half decades, counted 1, 3, 10, 30: rate(0.001, 1) is 0.003 and -1 gives 0.0003."""
    decades, odd = divmod(halves, 2)
    return float(f"{centre * 10.0**decades * (3 if odd else 1):.6g}")


def reach(centre: float, scores: Mapping[float, float]) -> tuple[float, ...]:
    """The rates to try so far, ascending, given the `scores` (higher is better) of those that were tried.

    Where one of them has no score yet it is the set that is being tried; where all have one and the set does not grow,
    the search has ended. Of equal scores the larger rate counts: rates that all teach nothing are too small.
    """

    def score(k: int) -> tuple[float, int]:
        return scores[rate(centre, k)], k

    tried: list[int] = [*COARSE]
    while all(rate(centre, k) in scores for k in tried) and len(tried) < LIMIT:
        best = max(tried, key=score)
        if best == max(tried):
            tried.append(best + 1)
        elif best == min(tried):
            tried.append(best - 1)
        elif len(tried) < TRIES:
            tried.append(best + 1 if score(best + 2) > score(best - 2) else best - 1)
        else:
            break
    return tuple(rate(centre, k) for k in sorted(tried))
