"""`litmus run`: a protocol made from command-line options, so that one's own pictures go the way of every board."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from bench.bases import find_source
from bench.core.errors import LitmusError
from bench.metrics import listed
from bench.plugin.spec import label, parse_spec
from bench.protocol.models import Protocol, make_protocol
from bench.records.record import Record
from bench.tasks.base import source_of, unknown

TIMEOUT = 6 * 3600.0  # seconds a run on a base of diffusers may take: the default of boards is meant for small ones


def _plain(name: str) -> str:
    """`name` as a protocol may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("_.-")


def task_name(task: str, identifier: str | None, class_word: str | None, kind: str | None) -> str:
    """A task as the registry names it: a path made absolute, with the words that describe its pictures.

    LitmusError for a folder without `folder:`, and for a word that the task's source does not take.
    """
    words = {"identifier": identifier, "class_word": class_word, "kind": kind}
    given = {key: value for key, value in words.items() if value is not None}
    place, _, query = task.partition("?")
    source = source_of(task)
    if source is None and Path(place).expanduser().is_dir():
        raise unknown(task, [])
    for key in given:
        if source is None or key not in source.options:
            option = "--" + key.replace("_", "-")
            raise LitmusError(f"{option} describes a folder of pictures: write --task folder:PATH, not --task {task}")
    if source is None:
        return task
    path = place.removeprefix(source.prefix)
    if source.path:
        path = str(Path(path).expanduser().resolve())
    query = "&".join(filter(None, [query, urlencode(given, quote_via=quote)]))
    return f"{source.prefix}{path}" + (f"?{query}" if query else "")


def protocol(
    name: str,
    tasks: list[str],
    methods: list[str],
    seeds: str,
    lr: float | None = None,
    objective: str | None = None,
    base: str | None = None,
    extractors: str | None = None,
    steps: int | None = None,
    batch: int | None = None,
    timeout: float | None = None,
    workers: int | None = None,
    dtype: str | None = None,
    resolution: str | None = None,
    quantise: str | None = None,
    sampling: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Protocol:
    """The protocol that the options of `litmus run` mean; what is not given keeps the protocol's default.

    `training` holds more fields of the protocol's Train, `sampling` fields of its Sample. A base of diffusers has
    dtype, resolution and quantisation in its name; it gets one worker, since a device holds one such network at a
    time, and hours.
    """

    def given(**options: Any) -> dict[str, Any]:
        return {key: value for key, value in options.items() if value is not None}

    source = find_source(base) if base is not None else None
    if source is not None and source.dtype is not None:
        source = source.with_options(dtype=dtype, resolution=resolution, quantise=quantise)
        base, dtype = source.spec, source.dtype
    elif given(resolution=resolution, quantise=quantise):
        raise LitmusError("--resolution and --quantise are for a base from a folder or the hub: give one with --base")
    if source is not None and source.large:
        workers, timeout = workers or 1, timeout or TIMEOUT
    table = given(base=base, extractors=extractors, objective=objective)
    table |= {
        "name": _plain(name) or "mine",
        "tasks": tasks,
        "seeds": numbers(seeds),
        "train": given(steps=steps, batch=batch, dtype=dtype, **(training or {})),
        "sample": given(**(sampling or {})),
        "limits": given(timeout=timeout, workers=workers),
        "methods": [_row(spec, lr) for spec in methods],
    }
    try:
        return make_protocol(table, "litmus run")
    except LitmusError as error:
        raise LitmusError(_in_options(str(error))) from None


# Where an option's name is not its field's.
OPTIONS = {"sample.steps": "--sample-steps", "spec": "--method"}
FIELD = re.compile(r"litmus run: (?:(methods)\.\d+\.)?((?:train|sample|limits)\.)?(\w+)(?:\.\d+)?: ")


def _in_options(line: str) -> str:
    """The line about a fault of a protocol that nobody wrote, with the option in place of the protocol's key."""
    found = FIELD.match(line)
    if not found:
        return line
    _, table, name = found.groups()
    option = OPTIONS.get(f"{table or ''}{name}") or OPTIONS.get(name) or "--" + name.replace("_", "-")
    return f"{option}: {line[found.end() :]}"


def _row(spec: str, lr: float | None) -> dict[str, Any]:
    """A method with its learning rate: the one in its brackets, `lora[lr=0.002]`, else `lr`, else none."""
    try:
        name, hyper = parse_spec(spec)
    except LitmusError:  # said by the protocol's own check, with the option's name
        hyper = {}
    if "lr" in hyper:
        lr = hyper.pop("lr")  # type: ignore[assignment]
        spec = label(name, hyper)
    return {"spec": spec} | ({} if lr is None else {"lr": lr})


def on(rules: Protocol, base: str) -> Protocol:
    """`rules` on another base, under a name of its own, so that its records do not mix with those of the first."""
    table = rules.model_dump(exclude_none=True)
    place = Path(base.partition("?")[0].partition("@")[0]).name
    title = f"{rules.title} (here on {place})" if rules.title else ""
    table |= {"base": base, "name": f"{rules.name}-{_plain(place)}", "title": title}
    return make_protocol(table, rules.name)


def numbers(text: str) -> list[int]:
    """Seeds as people write them: "0", "0,1,2", "0-4"."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise LitmusError(f"cannot read the seeds '{text}': write 0 or 0,1,2 or 0-4")
        found += range(int(low), int(high or low) + 1)
    return found


def scores(records: dict[str, Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the printed table: one row per finished run, only columns that some run has.

    The columns are the metrics whose card says `brief`.
    """
    done = [record for record in records.values() if record.ok]
    shown = [cls.name for cls in listed() if cls.brief]
    columns = [name for name in shown if any(record.scores.get(name) is not None for record in done)]

    def number(value: float | None) -> str:
        return "" if value is None else f"{round(value, 3) + 0.0:.3f}"  # no -0.000

    rows = []
    for record in done:
        run, trained = record.run, record.cost.scalars_trainable
        rows.append(
            [
                run.spec,
                "" if run.lr is None else f"{run.lr:g}",
                str(run.seed),
                *(number(record.scores.get(name)) for name in columns),
                "" if not run.train or trained is None else f"{trained:,}",
                record.files.get("grid", ""),
            ]
        )
    return ["method", "lr", "seed", *columns, "trained scalars", "pictures"], rows
