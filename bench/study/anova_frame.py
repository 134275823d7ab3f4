"""A study's records and its design -> one row per cell with the levels of all factors and every response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError
from bench.records.record import Record, read_board
from bench.study import Frame
from bench.study.frame import short, tidy
from bench.study.leaderboard import scores_in

DESIGN, PROBE = "design.json", "probe.json"
ARROW = " → "
FACTORS = ("source", "target", "activation", "scale", "init", "size", "lr", "base")
NORMS = ("headline", "concept_norm", "follow_norm")


@dataclass(frozen=True)
class Grid:
    """A study as it stands: `frame` has a row per cell that was run, `whole` one per cell of the whole grid.

    Columns of both: FACTORS, pair, task, seed, kind, block; `frame` also has key, replicate, failed and the responses.
    `probe` is what bench.anova.probe wrote, {} without it.
    """

    frame: Frame
    whole: Frame
    design: dict[str, Any]
    records: list[Record]
    warnings: list[str] = field(default_factory=list)
    probe: dict[str, Any] = field(default_factory=dict)

    def several(self, *names: str) -> list[str]:
        """Those factors that have more than one level in what was run."""
        return [name for name in names or FACTORS if self.frame[name].nunique() > 1]

    @property
    def responses(self) -> list[str]:
        """The headline, its two parts and every raw score that varies."""
        names = [*NORMS, *(n for n in scores_in(self.frame) if n not in NORMS)]
        return [n for n in dict.fromkeys(names) if self.frame[n].notna().sum() > 2 and self.frame[n].nunique() > 1]


def read(board: Path) -> Grid:
    """The study in a folder. LitmusError where it has no design.json or no finished cell."""
    try:
        design = json.loads((board / DESIGN).read_text(encoding="utf-8"))
    except OSError:
        raise LitmusError(f"{board} holds no study (no {DESIGN}): litmus anova makes one") from None
    except ValueError as error:
        raise LitmusError(f"{board / DESIGN} is not JSON ({error}): litmus anova writes it anew") from None
    probe = {}
    if (board / PROBE).is_file():
        probe = json.loads((board / PROBE).read_text(encoding="utf-8"))
    records, faults = read_board(board)
    return grid(records, design, faults, probe)


def grid(records: Sequence[Record], design: dict[str, Any], faults: Sequence[str] = (), probe: Any = None) -> Grid:
    """The study that `design` describes, from the records that belong to it."""
    import pandas as pd

    cells = design["cells"]
    parts, warnings = [], list(faults)
    for base in dict.fromkeys(cell["base"] for cell in cells.values()):
        done = tidy(
            [_named(r) for r in records if r.run.base == base and (r.key in cells or r.run.method != "adapter")]
        )
        warnings += done.warnings
        if len(done.frame):
            parts.append(done.frame[done.frame["key"].isin(list(cells))])
    frame: Frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if frame.empty:
        raise LitmusError("no cell of the study has a record yet: litmus anova runs them")
    for name in ("source", "target", "activation", "scale", "init", "size", "lr", "base", "replicate"):
        frame[name] = [cells[key][name] for key in frame["key"]]
    kinds = dict(zip(frame["task"], frame["kind"], strict=True))
    _derive(frame)
    whole: Frame = pd.DataFrame(_whole(frame))
    whole["kind"] = [kinds[task] for task in whole["task"]]
    _derive(whole)
    return Grid(frame, whole, design, list(records), warnings, probe or {})


def _named(record: Record) -> Record:
    """The record with all settings in its spec: a spec is short for what was the method's default when it was made."""
    run = record.run
    if run.method != "adapter":
        return record
    spec = ",".join(f"{key}={value}" for key, value in run.hyper.items())
    return record.model_copy(update={"run": run.model_copy(update={"spec": f"adapter[{spec}]"})})


def _derive(frame: Frame) -> None:
    frame["pair"] = frame["source"] + ARROW + frame["target"]
    names = [short(task) for task in frame["task"]]
    many = frame["base"].nunique() > 1
    blocks = zip(frame["base"], names, frame["seed"], strict=True)
    frame["block"] = [f"{base} " * many + f"{task} {seed}" for base, task, seed in blocks]


def _whole(frame: Frame) -> list[dict[str, Any]]:
    """Every pair in every form in every block that was met."""
    form = ["activation", "scale", "init", "size", "lr"]
    pairs = frame[["source", "target"]].drop_duplicates().to_dict("records")
    blocks = frame[["base", "task", "seed"]].drop_duplicates().to_dict("records")
    shapes: list[dict[str, Any]] = [{}]
    for name in form:
        shapes = [{**shape, name: level} for shape in shapes for level in dict.fromkeys(frame[name].tolist())]
    return [{**pair, **shape, **block} for block in blocks for pair in pairs for shape in shapes]
