"""A protocol as runs: who meets which task under which seed, each named by a key over all that decides its numbers.

Imports no torch: what only torch can tell (default learning rates, digests) comes in as a `Catalogue`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bench.bases import find_source
from bench.core.errors import LitmusError, nearest
from bench.protocol.models import PSEUDO, UNTRAINED, Protocol
from bench.records.record import Run
from bench.runner.numbers import code
from bench.runner.rate_search import reach


@dataclass(frozen=True)
class Competitor:
    """A method spec, resolved: `spec` with only what differs from the defaults, `hyper` with everything."""

    spec: str
    method: str
    hyper: dict[str, Any]
    lr: float  # the method's own default
    source: str = ""  # digest of a plug-in's file


@dataclass(frozen=True)
class Goal:
    """An objective's spec, resolved: with only what differs from the defaults; `source` digests a plug-in's file."""

    spec: str
    source: str = ""


@dataclass(frozen=True)
class TaskFacts:
    """What a plan must know of a task."""

    digest: str
    truth: bool  # has truth pictures, hence the rows truth and truth_raw
    split: str = "user"  # "tuning", "test" or "user"


@dataclass(frozen=True)
class Catalogue:
    """Everything a protocol names, looked up and checked (bench.runner.resolve): by the names the protocol uses."""

    competitors: dict[str, Competitor]
    tasks: dict[str, TaskFacts]
    objectives: dict[str, Goal]
    base_digest: str
    extractors_digest: str
    base: str = ""  # the base's name with everything filled in that the protocol left open; "": as the protocol has it
    notes: tuple[str, ...] = ()  # what the user should know before anything runs
    metrics: tuple[str, ...] = ()  # those that the protocol asks for, as they stand in records
    away: tuple[str, ...] = ()  # what must be fetched first: then no digest is known, and no key
    device: str = ""  # where networks will work: it decides no key


def specs(protocol: Protocol) -> list[str]:
    """Every method spec that a protocol names, the base first."""
    swept = [*protocol.sweep.lrs, *protocol.sweep.around] if protocol.sweep else []
    named = ["base", *(row.spec for row in protocol.methods), *swept]
    return list(dict.fromkeys(named))


def task_names(protocol: Protocol) -> list[str]:
    """Every task that a protocol names, in order."""
    rows = [*protocol.methods, *protocol.extra]
    return list(dict.fromkeys([*protocol.tasks, *(task for row in rows for task in row.tasks or ())]))


def scored_with(protocol: Protocol) -> str:
    """The extractors of a protocol: where it names none, published encoders for a base of real pictures."""
    if protocol.extractors:
        return protocol.extractors
    source = find_source(protocol.base)
    return source.extractors if source else "pocket"


def objectives(protocol: Protocol) -> list[str]:
    """Every objective that a protocol names, in order."""
    rows = [*protocol.methods, *protocol.extra]
    return list(dict.fromkeys([protocol.objective, *(row.objective for row in rows if row.objective)]))


def key(run: Run) -> str:
    """sha256 hex[:16] of the run as canonical JSON.

    `spec` is a way to write `hyper` and stays out, and so do `metrics`: adding one makes nothing run again.
    """
    # Not model_dump, which takes three times as long: the fields are plain values and two models of plain values.
    table = {name: value for name, value in _fields(run).items() if name not in ("spec", "metrics")}
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), default=_fields)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a model that decide a key: one that came later only where it is not at its default."""
    later, facts = getattr(model, "later", ()), type(model).model_fields
    return {name: x for name, x in vars(model).items() if name not in later or x != facts[name].default}


@dataclass(frozen=True)
class _Row:
    spec: str
    lr: float | None
    objective: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]


def _rows(protocol: Protocol, searched: Mapping[str, Iterable[float]]) -> Iterable[_Row]:
    """The rows of a protocol with every default filled in."""
    for row in protocol.methods:
        yield _Row(
            row.spec,
            row.lr,
            row.objective or protocol.objective,
            row.tasks or protocol.tasks,
            row.seeds or protocol.seeds,
        )
    listed = {row.spec: row for row in protocol.methods}
    for extra in protocol.extra:
        for spec in extra.methods:
            if spec not in listed:
                raise LitmusError(f"[[extra]]: {nearest(spec, listed, 'row')}")
            yield _Row(
                spec,
                extra.lr or listed[spec].lr,
                extra.objective or listed[spec].objective or protocol.objective,
                extra.tasks or listed[spec].tasks or protocol.tasks,
                extra.seeds or listed[spec].seeds or protocol.seeds,
            )
    for spec, lrs in [*(protocol.sweep.lrs if protocol.sweep else {}).items(), *searched.items()]:
        for lr in lrs:
            yield _Row(spec, lr, protocol.objective, protocol.tasks, protocol.seeds)


def expand(
    protocol: Protocol, catalogue: Catalogue, scores: Mapping[str, Mapping[float, float]] = MappingProxyType({})
) -> dict[str, Run]:
    """All runs of a protocol by key, block by block; each block has its floor (`base`) and ceiling (`truth`) rows.

    `scores` are those of the learning rates that a search has tried so far, by spec: they decide what it tries next
    (bench.runner.rate_search). A run that two rows name is there once. LitmusError for a sweep over test tasks: nothing
    is chosen on those.
    """
    if protocol.sweep and (tests := [name for name, facts in catalogue.tasks.items() if facts.split == "test"]):
        raise LitmusError(
            f"{protocol.name}: {tests[0]} is a test task: sweep tuning tasks (litmus tasks --split tuning)"
        )
    blocks: dict[tuple[str, int], list[Run]] = {}

    def add(make: Callable[..., Run], task: str, seed: int) -> None:
        facts = catalogue.tasks[task]
        if (task, seed) not in blocks:
            blocks[task, seed] = []
            for name in UNTRAINED:
                if name not in PSEUDO or facts.truth:
                    add(_untrained(name), task, seed)
        blocks[task, seed].append(
            make(
                protocol=protocol.protocol,
                code=code(),
                base=catalogue.base or protocol.base,
                base_digest=catalogue.base_digest,
                task=task,
                task_digest=facts.digest,
                seed=seed,
                sample=protocol.sample,
                extractors=scored_with(protocol),
                extractors_digest=catalogue.extractors_digest,
                metrics=catalogue.metrics,
            )
        )

    around = protocol.sweep.around if protocol.sweep else ()
    searched = {spec: reach(catalogue.competitors[spec].lr, scores.get(spec, {})) for spec in around}
    for row in _rows(protocol, searched):
        one = catalogue.competitors[row.spec]
        if one.method in UNTRAINED:
            make = _untrained(one.method)
        else:
            make = _trained(one, row, catalogue.objectives[row.objective], protocol)
        for task in row.tasks:
            for seed in row.seeds:
                add(make, task, seed)
    return {key(run): run for runs in blocks.values() for run in runs}


def _untrained(name: str) -> Callable[..., Run]:
    def make(**block: Any) -> Run:
        return Run(method=name, spec=name, **block)

    return make


def _trained(one: Competitor, row: _Row, goal: Goal, protocol: Protocol) -> Callable[..., Run]:
    lr = row.lr or one.lr

    def make(**block: Any) -> Run:
        return Run(
            method=one.method,
            source=one.source,
            spec=one.spec,
            hyper=one.hyper,
            lr=lr,
            objective=goal.spec,
            objective_source=goal.source,
            train=protocol.train,
            **block,
        )

    return make
