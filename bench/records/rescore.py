"""Scores from what lies beside records: what a new or mended metric says of runs that are done.

A record says with which version of each metric it was scored. A metric that came later, or whose version was raised
since, is computed from the run's features (without torch), one of pictures from its sample grid (bench.records.grids),
and written into the record; nothing else in it changes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
    without     records that have no readable features, where a metric needs them
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


def rescore(
    board: Path,
    names: Sequence[str] = (),
    every: bool = False,
    dry: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Rescored:
    """Compute what the records of `board` (its folder) lack, or have from an older version of a metric.

    names  only these metrics, as specs, those of torchmetrics among them; without any: what the board's runs asked for
    every  also what is there with the current version; dry  write nothing
    progress  called after each record with how many are done, and of how many
    LitmusError for an unknown metric, DiskError when a record cannot be written.
    """
    from_features = of(names, "features")
    records, faults = read_board(board)
    out = Rescored(faults=faults)
    for done, record in enumerate(records, start=1):
        if record.ok:
            out.runs += 1
            path = board / "runs" / f"{record.key}.json"
            scored = _Scored()
            if from_features or not names:
                _from_features(record, path, from_features, scored, out)
            _from_grid(record, path.parent, names, every, scored, out)
            wanted = {name: n for name, n in scored.versions.items() if every or _had(record).get(name, 0) < n}
            if wanted:
                out.computed.update(name for name in wanted if name in scored.values)
                out.changed += 1
                if not dry:
                    _put(record, path, wanted, scored.values, scored.per_prompt)
        progress(done, len(records))
    return out


@dataclass
class _Scored:
    """What was found for one record: metric -> version, value, value per prompt."""

    versions: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    per_prompt: dict[str, list[float | None]] = field(default_factory=dict)


def _from_features(record: Record, path: Path, names: list[str], scored: _Scored, out: Rescored) -> None:
    try:
        found = _features(record, path.parent)
    except LitmusError as error:
        out.faults.append(str(error))
        found = None
    if found is None:
        out.without.append(path)
        return
    failed: list[str] = []
    values, per_prompt = measure(found, names or [*(cls.name for cls in listed()), *_extra(record)], failed)
    out.faults += [line for line in failed if line not in out.faults]
    now = versions([*_extra(record), *values], failed)
    if names:  # of a family, the members that the cell has
        now = {name: n for name, n in now.items() if name in values or name in names}
    _compare(record, values, now, out)
    scored.versions |= now
    scored.values |= values
    scored.per_prompt |= per_prompt


def _from_grid(record: Record, folder: Path, names: Sequence[str], every: bool, scored: _Scored, out: Rescored) -> None:
    """The metrics of pictures among `names`, without names those of the run's protocol; only what is to be computed."""
    from bench.records import grids

    asked = of(names or [name for name in record.run.metrics if known(name)], "pictures")
    now = {name: metric(name).version for name in asked}
    if not (wanted := [name for name, n in now.items() if every or _had(record).get(name, 0) < n]):
        return
    try:
        found = grids.score(record, folder, wanted)
    except LitmusError as error:
        out.faults.append(str(error))
        return
    out.faults += [line for line in found.notes if line not in out.faults]
    scored.versions |= {name: now[name] for name in wanted if name in found.values}
    scored.values |= found.values
    scored.per_prompt |= found.per_prompt


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
