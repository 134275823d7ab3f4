"""What one run leaves behind: a versioned record, one JSON file each, written by atomic rename. Imports no torch.

Layout of a board: `<board>/runs/<key>.json` (this record), `<key>.prompts.json` (the metrics per prompt) and
`<key>.png` (the sample grid), and where it was run `<key>.features.safetensors` (bench.records.features).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.protocol.models import Sample, Train

SCHEMA = 1

Status = Literal["ok", "diverged", "error", "oom", "timeout", "crashed"]

# What the machine did and not the method: such a run has no score, and the next call of its board does it again.
MACHINE = ("oom", "timeout", "crashed")
ATTEMPTS = 3  # in all; after these only --retry-failed does it again


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Run(BaseModel):
    """A resolved cell: everything that decides its numbers and nothing else. `bench.runner.plan.key(run)` names it.

    `method` is a registered name, or a pseudo-method `truth` / `truth_raw`; for these and for `base` the fields
    `lr`, `train` are None and `objective` is "".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int  # number of the rules; rows of different numbers never share a table
    code: str  # version of the code that decides numbers, bench.runner.numbers.code()
    method: str
    source: str = ""  # digest of a plug-in method's file; "" for this project's own, which `code` covers
    spec: str  # the row's name, `lora[rank=8]`: only what differs from the method's defaults
    hyper: dict[str, Any] = {}  # every hyperparameter
    lr: float | None = None
    objective: str = ""  # its spec, `prior[weight=0.5]`
    objective_source: str = ""  # digest of a plug-in objective's file
    base: str
    base_digest: str
    task: str
    task_digest: str
    seed: int
    train: Train | None = None
    sample: Sample
    extractors: str
    extractors_digest: str
    metrics: tuple[str, ...] = ()  # asked for beside the registered ones; never part of the key: it makes nothing rerun

    # Came after the first records: at their default they are no part of a run's key (bench.runner.plan.key).
    later: ClassVar = ("objective_source",)

    @property
    def block(self) -> tuple[str, str, int]:
        """What is shared by all methods that are compared with each other: (base, task, seed)."""
        return self.base, self.task, self.seed


class Curve(_Part):
    """Losses while training. The tables are means over a fixed (x, t, eps) table, one value per entry of `steps`."""

    steps: list[int] = []  # optimiser steps done when the tables were read; the first is 0
    train: list[float | None] = []
    heldout: list[float | None] = []
    running: list[float | None] = []  # training loss of each step's own batch, (train.steps,)


class Cost(_Part):
    """What a run took. Scalars are counts; bytes and seconds as named; None where it was not measured."""

    scalars_trainable: int | None = None
    scalars_stored: int | None = None  # scalars on disk
    scalars_active: int | None = None  # extra scalars used at inference before merging
    scalars_buffers: int | None = None  # frozen tensors that the method added and can regenerate
    scalars_reserved: int | None = None  # of the trainable: 0 in the end, room or pruned; older records lack it
    scalars_denoiser: int | None = None  # the base's denoiser, for shares
    bytes_disk: int | None = None  # the saved trainable state
    bytes_peak: int | None = None  # peak live tensor bytes of one training step
    bytes_cuda: int | None = None  # torch.cuda's peak over the training steps, tables left out; older records lack it
    bytes_process: int | None = None  # the worker process's high-water mark (includes what it did before)
    flops_step: float | None = None  # theoretical FLOPs of one training step
    seconds_step: float | None = None  # median training step
    seconds_step_iqr: float | None = None  # interquartile range of the same
    steps_per_second: float | None = None
    images_per_second: float | None = None  # sampling, unmerged
    seconds_attach: float | None = None
    seconds_merge: float | None = None
    seconds_load: float | None = None  # saved state into a freshly attached network
    seconds_train: float | None = None
    seconds_sample: float | None = None
    seconds_score: float | None = None
    seconds_total: float | None = None
    overhead_unmerged: float | None = None  # denoiser call, unmerged, as a multiple of the base's
    overhead_merged: float | None = None  # the same after merging; None where the method cannot merge


class Machine(_Part):
    """Where it ran: timings of different machines never share a column."""

    cpu: str = ""
    cores: int = 0
    bytes_ram: int = 0
    platform: str = ""
    python: str = ""
    threads: int = 1  # torch threads of the worker
    workers: int = 1  # workers side by side on this machine
    device: str = ""  # where networks worked: "cpu", "NVIDIA H200 (cuda)"; older records lack it


class Provenance(_Part):
    """Versions, machine, code and time; no user or host name."""

    versions: dict[str, str] = {}  # distribution -> version
    machine: Machine = Machine()
    commit: str = ""  # git commit of the clone, "+" appended if its tracked files differ; "" outside a clone
    started: str = ""  # ISO 8601, UTC
    finished: str = ""


class Record(_Part):
    """One cell, whatever became of it. `scores` holds raw values; norms are computed from records by bench.study."""

    schema_version: int = SCHEMA
    key: str
    run: Run
    status: Status
    error: str = ""  # one line when status is not "ok"
    attempts: int = 1  # how often the run was begun, this time included; older records do not say and count 1
    kind: str = ""  # of the task: "subject" or "style"; "" in older records, and where the task was not reached
    scores: dict[str, float | None] = {}
    metrics: dict[str, int] = {}  # metric -> version its score was computed with; older records have none: version 1
    notes: list[str] = []  # flags in words, e.g. identifier words that the base does not know
    curve: Curve = Curve()
    cost: Cost = Cost()
    provenance: Provenance = Provenance()
    encoders: dict[str, Any] = {}  # of published encoders: per role model, preprocess, weights; acceptance
    files: dict[str, str] = Field(default={})  # "prompts", "grid", "features", "adapter" -> names of files beside it

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def lost(self) -> bool:
        """Whether the machine ended it (MACHINE): it says nothing of the method."""
        return self.status in MACHINE


def finite(value: Any) -> Any:
    """`value` with every nan and infinity, at any depth, as None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def write(record: Record, folder: Path) -> Path:
    """Write `record` to `folder/<key>.json`; returns the path."""
    path = folder / f"{record.key}.json"
    table = finite(record.model_dump(mode="json"))
    write_bytes(path, json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")
    return path


class NewerSchema(LitmusError):
    """A record that a newer litmus wrote."""


def _upgrade(table: dict[str, Any], name: str) -> dict[str, Any]:
    """An older record's table in today's schema; each schema change adds its step here."""
    version = table.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise ValueError("it has no schema_version")
    if version > SCHEMA:
        raise NewerSchema(
            f"{name} is a record of a newer litmus (schema {version}; this one reads up to {SCHEMA}): update litmus to "
            "read it, or choose another folder with --results or --out"
        )
    return table


def read(path: Path) -> Record:
    """The record in `path`; LitmusError with the file's name when it cannot be read."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise LitmusError(f"cannot read the record {path}: {error.strerror}") from None


def parse(text: str | bytes, name: str) -> Record:
    """The record that is written in `text`; LitmusError with the `name` of its place when it is none."""
    try:
        return Record.model_validate(_upgrade(json.loads(text), name))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise LitmusError(
            f"{name} is not a record: {where}: {fault['msg']}; delete it, and the next call runs it again"
        ) from None
    except (ValueError, AttributeError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise LitmusError(f"{name} is not a record: {error}; delete it, and the next call runs it again") from None


def files(board: Path) -> list[Path]:
    """The record files of a board (`<board>/runs/<key>.json`), sorted; side files are not among them."""
    return sorted(p for p in (board / "runs").glob("*.json") if p.name.count(".") == 1)


@dataclass(frozen=True)
class Stored:
    """What a board's folder holds: its readable records by key, and by the name of each other file why it is none."""

    records: dict[str, Record] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """A line for each file that is not a record."""
        return list(self.unread.values())


def read_stored(board: Path) -> Stored:
    """Read a board's folder. It takes a second for a thousand records: a command reads once and passes this on."""
    found = Stored()
    for path in files(board):
        try:
            found.records[path.stem] = read(path)
        except LitmusError as error:
            found.unread[path.stem] = str(error)
    return found


def read_board(board: Path) -> tuple[list[Record], list[str]]:
    """All readable records of a board, and one line for each file that is not one."""
    found = read_stored(board)
    return list(found.records.values()), found.faults
