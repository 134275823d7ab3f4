"""Learning rates for `litmus run`: those that sweeps found on the same base, from their records; else methods' own.

A sweep's rate is chosen on tuning tasks by the rule of bench.study.tuning. It holds for the hyperparameters that were
swept. One that was found under the plain objective, or before a method's own settings changed, is better than none, and
it is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.paths import results
from bench.protocol.models import UNTRAINED, Protocol, protocol_names
from bench.records.about import about
from bench.records.record import Record, files, read
from bench.runner.plan import Catalogue, Competitor


@dataclass(frozen=True)
class Rate:
    """A rate that a sweep found: `board` is its folder's name, `tasks` how many it rests on.

    `hyper` are all hyperparameters that it was found with, `spec` what of them was no default then.
    """

    lr: float
    method: str
    spec: str
    hyper: dict[str, Any]
    board: str
    tasks: int
    steps: int
    batch: int
    objective: str
    edge: str  # "lowest" or "highest" where it is the last that was tried

    def told(self, one: Competitor, goal: str) -> str:
        """The rate in words, for `one` trained with the objective `goal`."""
        many = f"{self.tasks} tuning task{'s' * (self.tasks > 1)}"
        text = f"{self.lr:g} (results/{self.board}, {many}, {self.steps} steps of {self.batch}"
        text += f", under the objective {self.objective}" if self.objective != goal else ""
        text += "" if self.hyper == one.hyper else ", found with settings that the method had before"
        return text + (f", the {self.edge} tried)" if self.edge else ")")


def sweeps() -> list[Path]:
    """The boards in results/ that are sweeps; a packaged sweep on another base is called by both names."""
    own = [name for name in protocol_names() if about(Path(name)).sweep]
    folders = sorted(path.parent for path in results().glob("*/runs"))
    return [f for f in folders if about(f).sweep or any(f.name.startswith(f"{name}-") for name in own)]


def place(base: str) -> str:
    """A base's name without revision and options: what is tuned in bf16 is tuned."""
    return base.partition("?")[0].partition("@")[0]


def with_rates(protocol: Protocol, catalogue: Catalogue) -> Catalogue:
    """`catalogue` with the tuned rate as the default of each method of the protocol that is given none.

    Its notes say which rates these are and where they come from, and what is untuned.
    """
    open_ = {row.spec for row in protocol.methods if row.lr is None}
    ours = {spec: one for spec, one in catalogue.competitors.items() if spec in open_ and one.method not in UNTRAINED}
    if not ours:
        return catalogue
    goal = catalogue.objectives[protocol.objective].spec
    base = catalogue.base or protocol.base
    found = rates({one.method for one in ours.values()}, base)
    competitors, tuned, untuned = dict(catalogue.competitors), [], []
    for spec, one in ours.items():
        rate = _best(found, one, goal)
        if rate is None:
            untuned.append(f"{one.spec} {one.lr:g}")
        else:
            competitors[spec] = replace(one, lr=rate.lr)
            tuned.append(f"{one.spec} {rate.told(one, goal)}")
    notes = list(catalogue.notes)
    if tuned:
        notes.append(f"tuned learning rates: {', '.join(tuned)}")
    if untuned:
        notes.append(
            f"untuned learning rates, the methods' own: {', '.join(untuned)}: no sweep of them on {place(base)} lies "
            "in results (litmus sweep makes one); --lr or method[lr=...] sets a rate"
        )
    return replace(catalogue, competitors=competitors, notes=tuple(notes))


def _best(found: list[Rate], one: Competitor, goal: str) -> Rate | None:
    """Of the rates of this method: with these hyperparameters, then under this objective, then on most tasks."""
    own = [r for r in found if r.method == one.method and (r.hyper == one.hyper or r.spec == one.spec)]
    own = [r for r in own if r.objective in (goal, "plain")]
    return max(own, key=lambda r: (r.hyper == one.hyper, r.objective == goal, r.tasks), default=None)


def rates(methods: set[str], base: str) -> list[Rate]:
    """What every sweep in results found for `methods` on `base`."""
    from bench.study.frame import tidy
    from bench.study.tuning import choose

    out = []
    for folder in sweeps():
        records = list(_records(folder, methods, place(base)))
        if not any(r.run.method in methods for r in records):
            continue
        one_of = {(r.run.spec, r.run.objective): r.run for r in records}
        for choice in choose(tidy(records).frame):
            run = one_of[choice.spec, choice.objective]
            if choice.best is None or run.train is None or choice.edge == "only":
                continue
            tasks, train = choice.best.score.tasks, run.train
            found = Rate(choice.lr, run.method, run.spec, run.hyper, folder.name, tasks, train.steps, train.batch,
                         choice.objective, choice.edge)  # fmt: skip
            out.append(found)
    return out


def _records(folder: Path, methods: set[str], base: str) -> Iterator[Record]:
    """The records of `methods` on `base`, with the floors and ceilings that they need; what cannot be read is left."""
    for path in files(folder):
        try:
            run = json.loads(path.read_bytes())["run"]
            if run["method"] in (*methods, *UNTRAINED) and place(run["base"]) == base:
                yield read(path)
        except Exception:
            continue
