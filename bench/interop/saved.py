"""Litmus's own file: the tensors that a run trained, under the names of its network, and all that says which network.

Kept beside a run's record by `litmus run --save`; off elsewhere, so that boards stay small.
Importing this loads no torch.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError
from bench.interop import facts as about

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.bases.base import Base
    from bench.interop.facts import Facts
    from bench.method import Method
    from bench.records.record import Record
    from bench.tasks import Task

MOVED = "moved."  # begins the names of what was cut out of frozen weights by a start that needs the run's data
PRECISE = 1e-6  # of a weight's largest entry: what a factored change may leave out


def tensors(tuned: nn.Module, frozen: nn.Module, method: Method) -> dict[str, Tensor]:
    """All that has to be kept of a trained network, on the CPU."""
    from bench.method import state

    contents = state(tuned) | (moved(tuned, frozen) if method.data_bound else {})
    return {key: x.to("cpu", copy=True) for key, x in contents.items()}


def keep(record: Record, folder: Path, base: Base, trained: dict[str, Tensor], task: Task) -> str:
    """Write the run's adapter beside its record; returns the file's name."""
    from bench.interop.files import write

    name = f"{record.key}.safetensors"
    write(folder / name, trained, about.header(about.of_run(record, base, task)))
    return name


def moved(tuned: nn.Module, frozen: nn.Module) -> dict[str, Tensor]:
    """How frozen weights differ from the base's: as a product of low rank (.up, .down) where it is one, else whole."""
    import torch

    from bench.interop.changes import factored

    before, out = dict(frozen.named_parameters()), {}
    for key, p in tuned.named_parameters():
        name = plain(key)
        if p.requires_grad or name not in before or p.equal(before[name].to(p)):
            continue
        delta = p.detach().float() - before[name].to(p.device).float()
        half = min(delta.flatten(1).shape) // 2 if delta.ndim > 1 else 0
        if half:
            rank = max(1, int(torch.linalg.matrix_rank(delta.flatten(1).double(), rtol=1e-4)))
            up, down = (x.float() for x in factored(delta.flatten(1), rank))
            if rank <= half and (up @ down - delta.flatten(1)).abs().max() <= PRECISE * p.abs().max():
                out |= {f"{MOVED}{name}.up": up, f"{MOVED}{name}.down": down}
                continue
        out[f"{MOVED}{name}"] = delta
    return out


def plain(key: str) -> str:
    """A frozen tensor's name in the base: peft puts the layer that it wraps one level down."""
    return key.replace(".base_layer.", ".")


def restore(base: Base, stored: dict[str, Tensor], facts: Facts, file: object) -> tuple[Base, Method]:
    """(a copy of `base` with the run's adapter on it, its method).

    LitmusError when the method's file has changed since, or the tensors are not those of its network.
    """
    import torch

    from bench.core.rng import rng
    from bench.method import METHODS, load_state, source_digest
    from bench.training.attach import attached_copy

    method = METHODS.stored(facts.method, facts.hyper)
    # Of this project's own methods a file of an earlier revision is understood; a plug-in's digest is another method's.
    ours = facts.method in METHODS.own() and (not facts.source or facts.source.startswith("revision "))
    if not ours and source_digest(type(method)) != facts.source:
        raise LitmusError(f"{file}: the file of the method {facts.method} has changed since it was trained")
    if method.side != "denoiser":
        base = base.with_text()
    stream, trigger = lambda: rng("init", facts.seed), base.trigger(facts.trigger)
    tuned = replace(base, net=attached_copy(base.net, method, stream, trigger=trigger))
    method_state = {key: x for key, x in stored.items() if not key.startswith(MOVED)}
    try:
        load_state(tuned.net, method_state)
    except LitmusError as error:
        raise LitmusError(f"{file} does not fit the base {base.name}: {error}") from None
    params = {plain(key): p for key, p in tuned.net.named_parameters() if not p.requires_grad}
    with torch.no_grad():
        for key, x in stored.items():
            name, _, end = key.removeprefix(MOVED).rpartition(".")
            if not key.startswith(MOVED) or end == "down":
                continue
            factors = end == "up"
            p = params[name if factors else key.removeprefix(MOVED)]
            delta = (x @ stored[f"{MOVED}{name}.down"]).view_as(p) if factors else x
            p += delta.to(p)
    return tuned, method


def base_of(file: Path) -> str:
    """The base to load for an adapter: as its run's record says, with the folder's path, else as its header does.

    "pocket" where nothing is said. LitmusError where it was a folder that is not found from here.
    """
    from bench.bases import find_source
    from bench.interop import files
    from bench.interop.peft_files import part_folders

    kind, path = files.locate(file)
    head = about.read(files.metadata(part_folders(path)[0] / files.PEFT_NAME if kind == "peft" else path), path)
    record = file if file.suffix == ".json" else path.with_suffix(".json")
    named = list(filter(None, [_in_record(record, path), head.base if head else ""])) or ["pocket"]
    for base in named:
        if (source := find_source(base)) and source.there:
            return base
    where = named[0].partition("?")[0]
    raise LitmusError(f"{file} was trained on the folder {where}, which is not found from here: give --base FOLDER")


def _in_record(record: Path, adapter: Path) -> str:
    """The base of the run whose adapter it is; "" where `record` is no record, or another adapter's."""
    from bench.records.record import read

    with suppress(LitmusError):
        if record.is_file() and (contents := read(record)).files.get("adapter") == adapter.name:
            return contents.run.base
    return ""
