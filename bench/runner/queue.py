"""Which run comes next, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from statistics import median

from bench.records.record import Record, Run

# Of the seconds of a trained run, about: what an untrained row takes.
SHARES = {"base": 0.3, "truth": 0.1, "truth_raw": 0.1}


class Pace:
    """Seconds per run as seen so far, by row; unseen rows are guessed from their kind."""

    def __init__(self, records: list[Record]):
        self.seen: dict[str, list[float]] = {}
        for record in records:
            if record.ok and record.cost.seconds_total:
                self.observe(record.run.spec, record.cost.seconds_total)

    def observe(self, spec: str, seconds: float) -> None:
        self.seen.setdefault(spec, []).append(seconds)

    def expect(self, run: Run) -> float:
        """Seconds that `run` will take; before anything was seen, a trained run counts 1 and others less."""
        if run.spec in self.seen:
            return median(self.seen[run.spec])
        medians = {spec: median(values) for spec, values in self.seen.items()}
        floors = [medians.pop(spec) / share for spec, share in SHARES.items() if spec in medians]
        guess = max(medians.values(), default=0.0) or max(floors, default=1.0)  # an unseen row may be a slow one
        return guess * SHARES.get(run.method, 1.0)

    def left(self, runs: list[Run], workers: int) -> float | None:
        """Seconds until `runs` are done by `workers` side by side; None before anything was seen."""
        if not self.seen:
            return None
        kinds = Counter(run.spec for run in runs)
        one_of = {run.spec: run for run in runs}
        return sum(n * self.expect(one_of[spec]) for spec, n in kinds.items()) / max(workers, 1)


class Queue:
    """Runs still to be handed out. Blocks stay together, so that a worker reuses its base, task and floor; within a
    block slow rows go first, so that no slow one is left for the end."""

    def __init__(self, runs: dict[str, Run], pace: Pace):
        self.blocks: dict[tuple, list[tuple[str, Run]]] = {}
        for key, run in runs.items():
            self.blocks.setdefault(run.block, []).append((key, run))
        for rows in self.blocks.values():
            rows.sort(key=lambda row: pace.expect(row[1]))  # the slowest last, where pop takes it
        self.fresh = list(self.blocks)[::-1]

    def __len__(self) -> int:
        return sum(map(len, self.blocks.values()))

    def runs(self) -> list[Run]:
        """What is still to be handed out."""
        return [run for rows in self.blocks.values() for _, run in rows]

    def take(self, last: tuple | None = None) -> tuple[str, Run] | None:
        """The next (key, run) for a worker whose last run was of block `last`; None when nothing is left."""
        block = last if last in self.blocks else self._next(last)
        if block is None:
            return None
        if block in self.fresh:
            self.fresh.remove(block)
        taken = self.blocks[block].pop()
        if not self.blocks[block]:
            del self.blocks[block]
        return taken

    def _next(self, last: tuple | None) -> tuple | None:
        same_task = [block for block in self.fresh if last and block[:2] == last[:2]]
        if same_task or self.fresh:
            return (same_task or self.fresh)[-1]
        return max(self.blocks, key=lambda block: len(self.blocks[block]), default=None)


class InOrder(Queue):
    """Hands runs out in the order given, and none once `seconds` have gone: whatever was done is a prefix."""

    def __init__(self, runs: dict[str, Run], seconds: float | None = None):
        self.waiting = list(runs.items())[::-1]
        self.until = None if seconds is None else time.monotonic() + seconds

    def __len__(self) -> int:
        return 0 if self.until is not None and time.monotonic() > self.until else len(self.waiting)

    def runs(self) -> list[Run]:
        return [run for _, run in self.waiting] if len(self) else []

    def take(self, last: tuple | None = None) -> tuple[str, Run] | None:
        return self.waiting.pop() if len(self) else None
