"""A run's training, from its description to a tuned base: the one way, for a run itself and whoever repeats it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError
from bench.evaluation.references import extras
from bench.method import METHODS, Method, source_digest
from bench.objectives import OBJECTIVES, Objective
from bench.protocol.models import Train
from bench.training.attach import attach
from bench.training.loop import Curve, fit

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.protocol.models import Sample
    from bench.records.record import Cost, Run
    from bench.tasks import Task


@dataclass(frozen=True)
class Trained:
    """What training left. `base` is the frozen one, with its text side in the network where the method trains it."""

    base: Base
    tuned: Base
    method: Method
    objective: Objective
    curve: Curve


def train_run(
    base: Base,
    task: Task,
    run: Run,
    sampling: Sample,
    cost: Cost | None = None,
    report: Callable[..., Any] = lambda *told: None,
) -> Trained:
    """Attach the run's method to a copy of `base` and train it as the run says; the same numbers each time.

    `cost` gets the seconds of attaching. LitmusError where a plug-in's file is no longer the one that was planned with,
    Diverged (bench.training.loop) where training does.
    """
    method, objective = METHODS.stored(run.method, run.hyper), OBJECTIVES.read(run.objective or "plain")
    for kind, part, planned in (("method", method, run.source), ("objective", objective, run.objective_source)):
        if source_digest(type(part)) != planned:
            raise LitmusError(f"the {kind}'s file changed after the plan was made: start the command again")
    settings = run.train or Train(batch=1)  # of a row that trains nothing
    if method.side != "denoiser":
        base = base.with_text()
    clock = time.perf_counter()
    tuned = attach(base, method, task, run.seed, settings.batch, settings.checkpointing)
    if cost is not None:
        cost.seconds_attach = time.perf_counter() - clock
    if objective.needs.beside:
        report("class pictures" if objective.needs.classes else "memory pictures", 0, 0, None)
    curve = fit(
        tuned,
        method,
        task,
        settings,
        lr=run.lr or 0.0,
        seed=run.seed,
        objective=objective,
        extras=extras(base, objective, task, run.seed, sampling),
        progress=lambda step, of, loss: report("training", step, of, loss),
    )
    return Trained(base, tuned, method, objective, curve)
