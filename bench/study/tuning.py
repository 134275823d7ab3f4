"""The learning rate of each method, chosen on tuning tasks by one rule: the highest mean headline over the blocks.

A failed run counts as 0 and one that the machine ended has no score, as everywhere; a best value at the edge of the
range that was tried is flagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.records.record import MACHINE
from bench.study import Frame
from bench.study.stats import Interval, by_task, estimate

RULE = "highest mean headline over the tuning blocks, seeds averaged inside tasks; failed runs count as 0"


@dataclass(frozen=True)
class Trial:
    """One learning rate of one method over the tuning blocks."""

    lr: float
    score: Interval
    failed: int  # by itself, or by an error: scored 0
    lost: int  # ended by the machine: no score
    complete: bool  # it met every block that its rivals met

    @property
    def note(self) -> str:
        """Which of its runs have no score of their own: "2 failed", "1 ended by the machine", or ""."""
        parts = [f"{self.failed} failed"] * bool(self.failed) + [f"{self.lost} ended by the machine"] * bool(self.lost)
        return ", ".join(parts)


@dataclass(frozen=True)
class Choice:
    """The rate chosen for one row (`spec` under `objective`) and the trials behind it; lr nan if nothing is scored."""

    spec: str
    objective: str
    lr: float
    edge: str  # "lowest" or "highest" when the best rate is the first or last of the range, "only" when one was tried
    trials: tuple[Trial, ...]  # ascending in lr

    name: str = ""  # of its row: the spec, with the objective where a spec has several

    @property
    def best(self) -> Trial | None:
        return next((t for t in self.trials if t.lr == self.lr), None)


def choose(frame: Frame, column: str = "headline") -> list[Choice]:
    """One `Choice` per (spec, objective) of a tidy frame, in sorted order.

    A rate that misses blocks which its rivals met, or whose score is unknown in one, is shown and never chosen. Of
    equal means the smaller rate wins.
    """
    out = []
    trained = frame[frame["trained"]]
    for (spec, objective), rows in trained.groupby(["spec", "objective"], sort=True):
        blocks = len(rows[["task", "seed"]].drop_duplicates())
        trials = []
        for lr in sorted(float(x) for x in rows["lr"].unique()):
            group = rows[rows["lr"] == lr]
            score = estimate(by_task(group, column), name=f"tuning/{spec}/{lr:g}")
            complete = len(group) == blocks and bool(group[column].notna().all())
            lost = int(group["status"].isin(MACHINE).sum())
            trials.append(Trial(lr, score, int(group["failed"].sum()) - lost, lost, complete))
        means = {t.lr: t.score.value for t in trials if t.complete}
        best = max(means, key=lambda x: (means[x], -x)) if means else math.nan
        several = trained.loc[trained["spec"] == spec, "objective"].nunique() > 1 and objective != "plain"
        name = f"{spec} + {objective}" if several else str(spec)
        out.append(Choice(str(spec), str(objective), best, _edge(best, [t.lr for t in trials]), tuple(trials), name))
    return out


def _edge(best: float, rates: list[float]) -> str:
    if math.isnan(best):
        return ""
    if len(rates) == 1:
        return "only"
    return {min(rates): "lowest", max(rates): "highest"}.get(best, "")


def swept(frame: Frame) -> bool:
    """Whether a board is a sweep: some row was run with three or more learning rates."""
    trained = frame[frame["trained"]]
    return bool((trained.groupby(["spec", "objective"])["lr"].nunique() >= 3).any()) if len(trained) else False
