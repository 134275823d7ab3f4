"""What is said of runs that the machine ended (bench.records.record.MACHINE): which, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.record import ATTEMPTS, Record

WORDS = {"oom": "out of memory", "error": "stopped by an error", "timeout": "timed out"}
CURES = {
    "oom": "out of memory: fewer workers (-j 1), a smaller batch or resolution, a larger machine",
    "crashed": "crashed: look into logs/ in the board's folder; a worker that was killed most often lacked memory",
    "timeout": "timed out: a higher --timeout of litmus run, or limits.timeout of the protocol",
}


def told(status: str) -> str:
    """A status in words."""
    return WORDS.get(status, status)


def remedy(lost: Sequence[Record]) -> str:
    """What to do about runs that the machine ended, in one line."""
    given_up = sum(r.attempts >= ATTEMPTS for r in lost)
    parts, open_ = [], len(lost) - given_up
    if open_:
        parts.append(f"the same command runs {f'{open_} of ' * bool(given_up)}them again, {ATTEMPTS} times in all")
    if given_up:
        parts.append(
            f"{f'{given_up} ' * bool(open_)}begun {ATTEMPTS} times or more: --retry-failed runs failed runs again"
        )
    statuses = dict.fromkeys(r.status for r in lost)
    return "; ".join([*parts, *(CURES[s] for s in CURES if s in statuses)])
