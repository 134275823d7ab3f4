"""Scores from the features beside records: what a new or mended metric says of runs that are done. No torch.

A record says with which version of each metric it was scored. A metric that came later, or whose version was raised
since, is computed from the run's features and written into the record; nothing else in it changes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.metrics import known, listed, measure, metric, of
from bench.records import features
from bench.records.record import Record, finite, read_board

LARGE = 0.01  # what float16 does not explain: a difference above this share of a score (of 1 for a smaller one)


def versions(scores: Iterable[str] = (), faults: Iterable[str] = ()) -> dict[str, int]:
    """What a record says of its scores: every metric that was asked, defined for the cell or not, with its version.

    `scores` are the names that have a value; `faults` the lines of `bench.metrics.measure` about those that failed.
    """
    single = [cls.name for cls in listed() if not cls.family]
    failed = _failed(faults)
    return {name: metric(name).version for name in dict.fromkeys([*single, *scores]) if name not in failed}


def _failed(faults: Iterable[str]) -> set[str]:
    return {line.partition(" was not computed")[0] for line in faults}


@dataclass
class Rescored:
    """What came of it.

    runs        runs that ended well; failed ones have no scores to compute
    computed    metric -> records in which it was computed
    without     records that have no readable features
    compared    scores that were there already with the current version, computed again for comparison
    difference  (the largest share by which one differs, metric, record's key); None where nothing was compared
    faults      a line for each file that cannot be read
    """

    runs: int = 0
    computed: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    without: list[Path] = field(default_factory=list)
    compared: int = 0
    difference: tuple[float, str, str] | None = None
    faults: list[str] = field(default_factory=list)


def rescore(board: Path, names: Sequence[str] = (), every: bool = False, dry: bool = False) -> Rescored:
    """Compute what the records of `board` (its folder) lack, or have from an older version of a metric.

    names  only these metrics, as specs; every  also what is there with the current version; dry  write nothing
    LitmusError for an unknown metric and one that needs pictures, DiskError when a record cannot be written.
    """
    if pictures := of(names, "pictures"):
        raise LitmusError(
            f"{pictures[0]} is computed from pictures, not from features: name it in a protocol's metrics, for new runs"
        )
    records, faults = read_board(board)
    out = Rescored(faults=faults)
    for record in records:
        if not record.ok:
            continue
        out.runs += 1
        path = board / "runs" / f"{record.key}.json"
        try:
            found = _features(record, path.parent)
        except LitmusError as error:
            out.faults.append(str(error))
            found = None
        if found is None:
            out.without.append(path)
            continue
        failed: list[str] = []
        values, per_prompt = measure(found, list(names) or [*(cls.name for cls in listed()), *_extra(record)], failed)
        out.faults += [line for line in failed if line not in out.faults]
        now = versions([*_extra(record), *values], failed)
        if names:  # of a family, the members that the cell has
            now = {name: n for name, n in now.items() if name in values or name in names}
        _compare(record, values, now, out)
        wanted = {name: n for name, n in now.items() if every or _had(record).get(name, 0) < n}
        if not wanted:
            continue
        out.computed.update(name for name in wanted if name in values)
        out.changed += 1
        if not dry:
            _put(record, path, wanted, values, per_prompt)
    return out


def _extra(record: Record) -> list[str]:
    """The metrics that the run's protocol asks for beside the registered ones and that features are enough for."""
    return [name for name in record.run.metrics if (one := known(name)) and one.sees == "features"]


def _features(record: Record, folder: Path) -> Any:
    name = record.files.get("features", "")
    return features.read(folder / name, record.key) if name and (folder / name).is_file() else None


def _had(record: Record) -> dict[str, int]:
    """metric -> version; a record from before there were versions has the first of what it has a score of."""
    return record.metrics or {name: 1 for name in record.scores}


def _compare(record: Record, values: dict[str, float], now: dict[str, int], out: Rescored) -> None:
    """Count the scores that were there with the current version, and remember the largest difference."""
    had = _had(record)
    for name, value in values.items():
        before = record.scores.get(name)
        if before is None or had.get(name) != now.get(name):
            continue
        out.compared += 1
        share = abs(value - before) / max(1.0, abs(before))
        if out.difference is None or share > out.difference[0]:
            out.difference = share, name, record.key


def _put(
    record: Record,
    path: Path,
    wanted: dict[str, int],
    values: dict[str, float],
    per_prompt: dict[str, list[float | None]],
) -> None:
    """Write the metrics `wanted` into a run's files: the record last, so that what was cut short is done again."""
    if (side := path.parent / record.files.get("prompts", "")).is_file():
        table = json.loads(side.read_bytes())
        _update(table["metrics"], wanted, finite(per_prompt))
        write_bytes(side, _text(table))
    table = json.loads(path.read_bytes())  # not the model: what this litmus does not know stays too
    _update(table["scores"], wanted, finite(values))
    table["metrics"] = _had(record) | wanted
    write_bytes(path, _text(table))


def _update(table: dict[str, Any], wanted: Iterable[str], values: dict[str, Any]) -> None:
    """Put `values` of the metrics `wanted`; one that is not defined (any more) goes."""
    for name in wanted:
        if name in values:
            table[name] = values[name]
        else:
            table.pop(name, None)


def _text(table: Any) -> bytes:
    """As bench.records.record.write has it."""
    return json.dumps(table, indent=1, allow_nan=False).encode() + b"\n"
