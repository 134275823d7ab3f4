"""The study of adapter positions: a protocol with an [anova] table as a board of ordered cells. Imports no torch.

`<board>/design.json` says which record is which cell of the grid, which pairs a base lacks, and what the fraction
leaves mixed up; the report reads it beside the records.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.anova.design import FORM, Cell, aliases, cells, efficiency, forms, grid, replicates, seconds
from bench.anova.places import Places, ask
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.paths import results
from bench.core.settings import Settings
from bench.plugin.spec import label
from bench.protocol.models import Protocol, Row
from bench.records.record import Record, Run, read_stored
from bench.runner import board
from bench.runner.launch import COMMAND
from bench.runner.plan import Catalogue
from bench.runner.queue import InOrder

DESIGN = "design.json"


@dataclass(frozen=True)
class Study:
    """A planned study: its board, the cell behind each adapter's key, and what the plan has to say for itself."""

    board: board.Board
    cells: dict[str, Cell]
    places: dict[str, Places]  # by base
    grid: int  # cells of the whole grid
    blocks: int
    each: float  # seconds of the whole machine that a cell was taken to need
    budget: str  # "" for the whole grid

    @property
    def key(self) -> str:
        """sha256 hex[:16] over the keys of its cells: the study's name wherever its winner is used."""
        return hashlib.sha256(" ".join(sorted(self.cells)).encode()).hexdigest()[:16]

    @property
    def replicates(self) -> int:
        return 1 + max(cell.replicate for cell in self.cells.values())

    def lines(self) -> list[str]:
        """The plan in words."""
        a = self.board.protocol.anova
        assert a is not None
        some = next(iter(self.places.values()))
        whole = self.grid // len(some.pairs)
        out = [
            f"{len(some.pairs)} pairs x {len(forms(a))} forms x {self.blocks} blocks = {self.grid} cells; "
            f"{len(self.cells)} of them ({self.replicates} of {whole} replicates of every pair), "
            f"about {math.ceil(len(self.cells) * self.each / 60)} min at {self.each:g} s each"
        ]
        if self.blocks > self.replicates:
            out.append(f"the budget reaches {self.replicates} of {self.blocks} blocks (task, seed): give more time")
        for base, places in self.places.items():
            counts = [way.scalars for way in places.ways if way.size == a.widths[0]]
            spread = f"{min(counts):,}" + (f" to {max(counts):,}" if len(set(counts)) > 1 else "")
            out.append(f"{base}: sizes {a.sizes}, {spread} scalars at width {a.widths[0]}")
            out += [f"{base}: left out {name}: {why}" for name, why in places.refused.items()]
        return out


def plan(
    protocol: Protocol,
    folder: Path | None = None,
    retry_failed: bool = False,
    each: float = 0.0,
    places: dict[str, Places] | None = None,
    catalogue: dict[str, Catalogue] | None = None,
    device: str = "",
) -> Study:
    """The study that `protocol` describes, compared with the records in `folder` (default: results/<name>).

    `each`: seconds that a cell takes (0: the protocol's). `places` and `catalogue` by base, for a caller that has
    looked already; `device` as for board.plan. LitmusError where the protocol has no [anova] table, or a budget or
    position cannot be.
    """
    a = protocol.anova
    if a is None:
        raise LitmusError(f"{protocol.name} has no [anova] table: litmus bench {protocol.name} runs it")
    folder = folder or results() / protocol.name
    bases = a.bases or (protocol.base,)
    places = places or {base: ask(base, a.inputs, a.outputs, a.sizes, a.widths) for base in bases}
    pairs = [pair for pair in places[bases[0]].pairs if all(pair in places[base].pairs for base in bases)]
    if not pairs:
        raise LitmusError(f"no pair of positions exists in all of {', '.join(bases)}: study them one by one (--base)")
    # Tasks change fastest, so that the first replicates meet all of them.
    blocks = [(base, task, seed) for seed in protocol.seeds for task in protocol.tasks for base in bases]
    each = each or a.cell_seconds
    n = replicates(a, len(pairs), len(blocks), a.budget, each)
    chosen = cells(a, pairs, blocks, n)
    stored = read_stored(folder)
    runs: dict[str, Run] = {}
    settings = Settings(device)
    notes: list[str] = []
    for base in bases:
        rows = [_row(cell, places[base]) for cell in chosen if cell.base == base]
        own = protocol.model_copy(update={"base": base, "methods": tuple(rows), "extra": (), "sweep": None})
        known = catalogue[base] if catalogue else None
        planned = board.plan(own, folder, retry_failed, known, device, stored)
        settings = planned.settings
        runs |= planned.plan
        notes += planned.notes
    by_key, ordered = _match(chosen, places, runs)
    todo, have = board.missing(ordered, stored, retry_failed)
    whole = board.Board(protocol, folder, ordered, todo, have, tuple(notes), settings, stored)
    return Study(whole, by_key, places, len(pairs) * len(forms(a)) * len(blocks), len(blocks), each, a.budget)


def _row(cell: Cell, places: Places) -> Row:
    hyper = _hyper(cell, places)
    return Row(spec=label("adapter", hyper), lr=cell.lr, tasks=(cell.task,), seeds=(cell.seed,))


def _hyper(cell: Cell, places: Places) -> dict[str, Any]:
    width = next(w.width for w in places.ways if w.pair == (cell.source, cell.target) and w.size == cell.size)
    names = ("source", "target", "activation", "scale", "init")
    return {**{name: getattr(cell, name) for name in names}, "width": width}


def _match(chosen: list[Cell], places: dict[str, Places], runs: dict[str, Run]) -> tuple[dict[str, Cell], dict]:
    """Each cell by its run's key, and all runs in the cells' order; a block's untrained rows before its first cell."""

    def name(base: str, task: str, seed: int, lr: float | None, hyper: dict[str, Any]) -> tuple:
        return base, task, seed, lr, tuple(sorted(hyper.items()))

    untrained: dict[tuple, list[tuple[str, Run]]] = {}
    for key, one in runs.items():
        if one.method != "adapter":
            untrained.setdefault(one.block, []).append((key, one))
    keys = {name(r.base, r.task, r.seed, r.lr, r.hyper): k for k, r in runs.items() if r.method == "adapter"}
    by_key: dict[str, Cell] = {}
    ordered: dict[str, Run] = {}
    for cell in chosen:
        ordered |= {k: r for k, r in untrained.pop(cell.block, ())}
        key = keys[name(cell.base, cell.task, cell.seed, cell.lr, _hyper(cell, places[cell.base]))]
        by_key.setdefault(key, cell)
        ordered[key] = runs[key]
    return by_key, ordered


def run(study: Study, say: board.Say, command: tuple[str, ...] = COMMAND) -> dict[str, Record]:
    """Write design.json and do what is missing in the design's order, at most for the budget's time."""
    write_design(study)
    limit = seconds(study.budget) if study.budget else None
    before = len(study.board.todo)
    records = board.run(study.board, say, command, InOrder(study.board.todo, limit))
    left = len(study.board.plan) - len(records)
    if left and limit is not None:
        say(f"the budget of {study.budget} is spent: {before - left} of {before} runs done; the same command goes on")
    return records


def write_design(study: Study) -> Path:
    """`design.json` in the board's folder: the cells by key, in order, with what the fraction leaves mixed up."""
    a = study.board.protocol.anova
    assert a is not None
    some = next(iter(study.places.values()))
    path = study.board.folder / DESIGN
    table = {
        "format": 1,
        "study": study.key,
        "name": study.board.protocol.name,
        "factors": a.model_dump(mode="json"),
        "grid": study.grid,
        "replicates": [study.replicates, study.grid // len(some.pairs)],
        "sizes": {base: [asdict(way) for way in place.ways] for base, place in study.places.items()},
        "refused": {base: place.refused for base, place in study.places.items()},
        "aliases": aliases(list(study.cells.values())),
        "efficiency": _efficiency(study),
        "cells": {key: asdict(cell) for key, cell in study.cells.items()},
    }
    write_bytes(path, json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")
    return path


def _efficiency(study: Study) -> list[float]:
    a = study.board.protocol.anova
    assert a is not None
    chosen = list(study.cells.values())
    pairs = list(dict.fromkeys((c.source, c.target) for c in chosen))
    blocks = list(dict.fromkeys(c.block for c in chosen))
    return list(efficiency(chosen, grid(a, pairs, blocks)))


def alias_rows(study: Study, least: float = 0.05) -> list[list[str]]:
    """A line per term and what it is mixed up with, for terms of forms and pairs; an empty list for a full grid."""
    named = ("pair", *FORM)
    rows = []
    for term, shares in aliases(list(study.cells.values())).items():
        if any(part in named for part in term.split(":")):
            most = sorted(shares.items(), key=lambda share: -share[1])
            told = [f"{other} {share:.2f}" for other, share in most if share >= least]
            rows += [[term, ", ".join(told)]] if told else []
    return rows
