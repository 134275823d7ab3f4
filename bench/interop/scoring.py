"""Any adapter's file scored on a task, beside the frozen base and truth: prompts, noise and metrics of a board."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import digest_files, write_bytes
from bench.records.record import finite

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.evaluation.score import Drawn
    from bench.extractors.base import Extractors
    from bench.interop.adapters import Tuned
    from bench.protocol.models import Sample
    from bench.tasks import Task

COLUMNS = 6  # of the sample grid


@dataclass(frozen=True)
class Scored:
    """rows: name -> {metric: mean over seeds} for the frozen base, the file and, where there are any, true pictures."""

    rows: dict[str, dict[str, float | None]]
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and lines, one per metric."""
        names = list(dict.fromkeys(metric for row in self.rows.values() for metric in row))

        def cell(value: float | None) -> str:
            return "" if value is None else f"{round(value, 3) + 0.0:.3f}"

        return ["score", *self.rows], [[n, *(cell(row.get(n)) for row in self.rows.values())] for n in names]


def score(
    tuned: Tuned,
    task: Task,
    extractors: Extractors,
    sampling: Sample,
    seeds: list[int],
    out: Path,
    say: Callable[[str], None] = lambda line: None,
) -> Scored:
    """Draw the task's pictures with the adapter and score them; the numbers and a grid of pictures go to `out`."""
    from bench.evaluation.references import kept
    from bench.evaluation.score import draw, grid

    base, frozen = tuned.base, tuned.frozen
    task = task.at(base.resolution)
    if frozen.texts is not None:
        frozen.texts.prepare([*task.texts(), ""])
    if base.execution_device is not None:
        base.net.to(base.execution_device)
    notes = list(_notes(tuned, frozen, task))
    each: dict[str, list[dict[str, float]]] = {}
    pictures: list[Path] = []
    for seed in seeds:
        known = " (kept from the last time)" if kept(frozen, task, seed, sampling) else ""
        say(f"seed {seed}: the pictures of {tuned.file.name}, then the frozen base's{known}")
        drawn = draw(base, task, seed, sampling)
        for name, values in _rows(tuned, frozen, task, seed, sampling, extractors, drawn):
            each.setdefault(name, []).append(values)
        sheet = io.BytesIO()
        grid(drawn.cell.flatten(0, 1), COLUMNS).save(sheet, "PNG")
        write_bytes(out / f"pictures-{seed}.png", sheet.getvalue())
        pictures.append(out / f"pictures-{seed}.png")
    rows = {name: _mean(values) for name, values in each.items()}
    table = _described(tuned, task, extractors, sampling, seeds) | {"scores": finite(rows), "notes": notes}
    write_bytes(out / "scores.json", json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")
    return Scored(rows, (out / "scores.json", *pictures), tuple(notes))


def _rows(
    tuned: Tuned, frozen: Base, task: Task, seed: int, sampling: Sample, extractors: Extractors, drawn: Drawn
) -> list[tuple[str, dict[str, float]]]:
    from bench.evaluation.references import base_pictures, block
    from bench.evaluation.score import evaluate, truth

    floor = block(frozen, task, seed, sampling, extractors)
    rows = [("base", base_pictures(frozen, task, seed, sampling)), (tuned.file.name, drawn)]
    if task.has_truth:
        rows.append(("truth", truth(frozen, task)))
    return [(name, dict(evaluate(one, floor, extractors).values)) for name, one in rows]


def _mean(rows: list[dict[str, float]]) -> dict[str, float | None]:
    """Over seeds; a score that one of them lacks is left out."""
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in shared}


def _notes(tuned: Tuned, frozen: Base, task: Task) -> list[str]:
    notes = list(task.notes)
    facts = tuned.facts
    if facts.trigger and facts.trigger != task.identifier:
        notes.append(
            f"the file's trigger is '{facts.trigger}', this task's prompts say '{task.identifier}': "
            f"the concept may not be called up (--identifier {facts.trigger} for a folder of pictures)"
        )
    if unknown := frozen.unknown_words(task.texts()):
        notes.append(f"words that the base does not know: {', '.join(unknown)}")
    return notes


def _described(tuned: Tuned, task: Task, extractors: Extractors, sampling: Sample, seeds: list[int]) -> dict[str, Any]:
    from bench.core.device import described
    from bench.records.provenance import now, provenance

    where = tuned.frozen.execution_device or tuned.frozen.device
    return {
        "file": tuned.file.name,
        "sha256": _digest(tuned.file),
        "format": tuned.kind,
        "facts": tuned.facts.model_dump(mode="json"),
        "base": tuned.frozen.name,
        "base_digest": tuned.frozen.digest,
        "task": task.name,
        "task_digest": task.digest,
        "sampling": sampling.model_dump(),
        "seeds": seeds,
        "extractors": extractors.name,
        "extractors_digest": extractors.digest,
        "provenance": provenance(now(), device=described(where)).model_dump(mode="json"),
    }


def _digest(path: Path) -> str:
    if path.is_dir():
        return digest_files((p for p in path.rglob("*") if p.is_file()), path)
    return digest_files([path], path.parent)
