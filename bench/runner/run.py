"""One run from its description to its record. What happens to it, happens here and in this order.

Every draw comes from a named stream and the base is forked afresh, so a run's numbers do not depend on what the
process did before.
"""

from __future__ import annotations

import io
import json
import time
from functools import lru_cache, partial
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import torch

from bench import tasks
from bench.bases import find_source, load_base
from bench.core.device import described, working_device
from bench.core.errors import LitmusError
from bench.core.files import DiskError, write_bytes
from bench.core.rng import seed_of
from bench.core.settings import ALONE, Settings
from bench.cost.shared import method_costs
from bench.evaluation.references import base_pictures, block, memory_prompts
from bench.evaluation.score import Drawn, draw, evaluate, grid, truth
from bench.extractors import acceptance, load_extractors
from bench.interop import saved
from bench.protocol.models import PSEUDO
from bench.records import features
from bench.records.provenance import bytes_process, cores, now, provenance
from bench.records.record import Curve, Record, Run, finite
from bench.records.rescore import versions
from bench.runner.train import train_run
from bench.training.attach import out_of_memory
from bench.training.loop import OPTIMISERS, Diverged

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.protocol.models import Sample
    from bench.runner.worker import Report
    from bench.tasks import Task
    from bench.training import loop as trainer

COLUMNS = 6  # of the sample grid


@lru_cache(maxsize=4)
def _task(name: str) -> Task:
    return tasks.load(name)


def threads(base: str, workers: int = 1) -> int:
    """Torch threads of a run: one on a base of this project's own, whose records are all of one thread.

    A base of diffusers takes the cores that are its share among `workers`; most often it is the only one.
    """
    source = find_source(base)
    if source is None or not source.large:
        return 1
    return max(1, cores() // workers)


def execute(
    key: str,
    run: Run,
    folder: Path,
    report: Report,
    settings: Settings = ALONE,
) -> Record:
    """Do `run` and describe it; side files go to `folder`. A fault of the run itself is a status, not an exception."""
    # For plug-in methods that draw from the global stream against the rules: at least they repeat.
    torch.manual_seed(seed_of("global", key))
    torch.set_num_threads(threads(run.base, settings.workers))
    record = Record(key=key, run=run, status="ok")
    started, clock = now(), time.perf_counter()
    try:
        _do(run, record, folder, report, settings)
    except Diverged as error:
        record.status, record.error = "diverged", str(error)
        record.curve = _curve(error.curve)
    except LitmusError as error:
        if isinstance(error, DiskError):
            raise
        record.status, record.error = "error", str(error)
    except MemoryError as error:
        record.status, record.error = "oom", f"out of memory: {error}" if str(error) else "out of memory"
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        record.status, record.error = "oom", str(error).splitlines()[0]
        if (source := find_source(run.base)) and source.large:
            record.error += (
                " (less: --batch 1, --checkpointing, --resolution 512, --optimizer adamw8bit, --quantise nf4)"
            )
    record.cost.seconds_total = time.perf_counter() - clock
    record.cost.bytes_process = bytes_process()
    record.provenance = provenance(started, threads=torch.get_num_threads(), device=_device(settings.device))
    return record


def _device(asked: str) -> str:
    try:
        return described(working_device(asked))
    except LitmusError:  # the record's own error says it
        return ""


def _do(run: Run, record: Record, folder: Path, report: Report, settings: Settings) -> None:
    report("loading", 0, 0, None)
    base = load_base(run.base, run.train.dtype if run.train else "fp32", settings.device)
    if base.licence and base.source:
        record.notes.append(f"licence of the base: {base.licence}")
    task = _task(run.task).at(base.resolution)
    record.kind = task.kind
    extractors = load_extractors(run.extractors, settings.device)
    if extractors.card:
        record.encoders = {**extractors.card, "acceptance": acceptance.told(extractors)}
    for name, planned, found in (
        ("base", run.base_digest, base.digest),
        ("task", run.task_digest, task.digest),
        ("extractors", run.extractors_digest, extractors.digest),
    ):
        if planned != found:
            raise LitmusError(f"the {name} changed after the plan was made: start the command again")
    if base.texts is not None:
        report("prompts", 0, 0, None)
        base.texts.prepare([*task.texts(), ""])
    report("floor", 0, 0, None)
    floor = block(base, task, run.seed, run.sample, extractors)
    cost, curve, trained = record.cost, None, None
    if run.method in PSEUDO:
        drawn = truth(base, task, raw=run.method == "truth_raw")
    else:
        drawn, curve, trained = _tuned(base, task, run, run.sample, record, report, settings.save)
        record.curve = _curve(curve)
    report("scoring", 0, 0, None)
    clock = time.perf_counter()
    scores = evaluate(drawn, floor, extractors, curve, run.metrics, task)
    cost.seconds_score = time.perf_counter() - clock
    record.scores = dict(finite(scores.values))
    record.metrics = versions(scores.values, scores.notes)
    if unknown := base.unknown_words(task.texts()):
        record.notes.append(f"words that the base does not know: {', '.join(unknown)}")
    record.notes += [*task.notes, *scores.notes]
    record.files = _side_files(record.key, folder, task, drawn, scores.per_prompt)
    record.files["features"] = features.write(record.key, scores.features, folder)
    if trained:
        record.files["adapter"] = saved.keep(record, folder, base, trained, task)


def _tuned(
    base: Base, task: Task, run: Run, sampling: Sample, record: Record, report: Report, save: bool
) -> tuple[Drawn, trainer.Curve, dict[str, torch.Tensor] | None]:
    """Attach, train, draw, and measure what that took."""
    cost, train = record.cost, run.train
    done = train_run(base, task, run, sampling, cost, report)
    base, tuned, curve, needs = done.base, done.tuned, done.curve, done.objective.needs
    if train is None:
        return base_pictures(base, task, run.seed, sampling), curve, None
    if unknown := base.unknown_words(memory_prompts(done.objective, task)):
        record.notes.append(f"words of the objective's prompts that the base does not know: {', '.join(unknown)}")
    cost.seconds_train, cost.bytes_cuda = curve.seconds, curve.bytes_cuda
    if curve.paces:
        first, cost.seconds_step, third = quantiles(curve.paces * 2, n=4, method="inclusive")  # twice: one may be all
        cost.seconds_step_iqr, cost.steps_per_second = third - first, 1 / cost.seconds_step
    report("sampling", 0, 0, None)
    clock = time.perf_counter()
    drawn = draw(tuned, task, run.seed, sampling)
    cost.seconds_sample = time.perf_counter() - clock
    pictures = sum(len(x.flatten(0, 1)) for x in (drawn.cell, drawn.prior, drawn.drift) if x is not None)
    cost.images_per_second = pictures / cost.seconds_sample
    report("measuring the cost", 0, 0, None)
    trained = saved.tensors(tuned.net, base.net, done.method) if save else None
    method = done.method
    del tuned, done  # the measure makes copies of its own
    other = None
    if train.optimizer != "adamw":
        other = train.optimizer, partial(OPTIMISERS[train.optimizer], weight_decay=train.weight_decay)
    batch = train.batch * (1 + needs.beside)
    try:
        costs = method_costs(base.working(), method, batch, train.checkpointing, other, needs.frozen)
    except RuntimeError as error:  # it holds several copies of the network beside each other
        if not out_of_memory(error):
            raise
        record.notes.append("costs were not measured: out of memory")
        costs = {}
    for name, value in costs.items():
        if getattr(cost, name) is None:  # what was measured on the run itself stays
            setattr(cost, name, value)
    return drawn, curve, trained


def _curve(curve: trainer.Curve) -> Curve:
    return Curve(**finite({name: getattr(curve, name) for name in ("steps", "train", "heldout", "running")}))


def _side_files(
    key: str, folder: Path, task: Task, drawn: Drawn, per_prompt: dict[str, list[float | None]]
) -> dict[str, str]:
    """Write what is too large for a record beside it: the metrics per prompt and the sample grid."""
    names = {"prompts": f"{key}.prompts.json", "grid": f"{key}.png"}
    table = {"prompts": [p.text for p in task.prompts], "metrics": finite(per_prompt)}
    write_bytes(folder / names["prompts"], json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")
    sheet = io.BytesIO()
    grid(drawn.cell.flatten(0, 1), COLUMNS).save(sheet, "PNG")
    write_bytes(folder / names["grid"], sheet.getvalue())
    return names
