"""What only torch can tell a plan, found out in a process of its own so that the runner's parent stays light.

`ask(protocol)` starts `python -m bench.runner.resolve`, which loads the registries, the base, the extractors and every
task that the protocol names: a wrong name or a broken picture is one line before anything runs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.core import subprocess
from bench.core.errors import LitmusError, nearest
from bench.protocol.models import PSEUDO, UNTRAINED, Protocol
from bench.runner.plan import Catalogue, Competitor, TaskFacts, objectives, scored_with, specs, task_names

if TYPE_CHECKING:
    from bench.tasks import Task


def ask(protocol: Protocol) -> Catalogue:
    """The catalogue of everything that `protocol` names. LitmusError for what is unknown, missing or broken."""
    return _read(subprocess.ask("bench.runner.resolve", _request(protocol), "look up what the protocol names"))


def look_up(protocol: Protocol) -> Catalogue:
    """`ask` in this process, for a caller that has torch loaded anyway."""
    return _read(survey(_request(protocol)))


def _request(protocol: Protocol) -> dict[str, Any]:
    return {
        "base": protocol.base,
        "extractors": scored_with(protocol),
        "specs": specs(protocol),
        "tasks": task_names(protocol),
        "objectives": objectives(protocol),
        "min_snr": protocol.train.min_snr,
    }


def _read(answer: dict[str, Any]) -> Catalogue:
    return Catalogue(
        competitors={name: Competitor(**one) for name, one in answer["competitors"].items()},
        tasks={name: TaskFacts(**one) for name, one in answer["tasks"].items()},
        base_digest=answer["base_digest"],
        extractors_digest=answer["extractors_digest"],
        base=answer["base"],
        notes=tuple(answer["notes"]),
    )


def competitor(spec: str) -> Competitor:
    """A method spec resolved against the registry; LitmusError for an unknown name or hyperparameter."""
    from bench import method

    name, hyper = method.parse_spec(spec)
    if name in PSEUDO:
        return Competitor(spec=name, method=name, hyper={}, lr=0.0)
    made = method.make(name, **hyper)
    return Competitor(
        spec=made.spec, method=name, hyper=made.hyper(), lr=type(made).lr, source=method.source_digest(type(made))
    )


def survey(request: dict[str, Any]) -> dict[str, Any]:
    """The torch side of `ask`: a table that JSON can carry."""
    from bench import tasks
    from bench.bases import BASES, base_facts, load_base
    from bench.extractors import acceptance, extractors_digest
    from bench.objectives import OBJECTIVES

    # What the user wrote comes first: a misspelling must not wait for weights.
    competitors = {spec: asdict(competitor(spec)) for spec in request["specs"]}
    for name in request["objectives"]:
        if name not in OBJECTIVES:
            raise LitmusError(nearest(name, OBJECTIVES, "objective"))
    loaded = {name: tasks.load(name) for name in request["tasks"]}
    name, base_digest, said = base_facts(request["base"])
    digests = {"base_digest": base_digest, "extractors_digest": extractors_digest(request["extractors"])}
    notes = [*said, *kept(request["specs"]), *acceptance.notes(request["extractors"], digests["extractors_digest"])]
    if name not in BASES:
        notes += real(name, list(loaded.values()), request.get("min_snr"))
    for task in loaded.values():
        if name not in BASES:
            break  # an open vocabulary
        # The world draws truth for its own tasks, in the base's own words; loading a base to ask costs seconds.
        if not task.has_truth and (unknown := load_base(request["base"]).unknown_words(task.texts())):
            notes.append(unknown_line(task.name, unknown, request["base"]))
    return {
        "base": name,
        "competitors": competitors,
        "tasks": {name: asdict(TaskFacts(t.digest, t.has_truth, t.split)) for name, t in loaded.items()},
        **digests,
        "notes": notes,
    }


def kept(specs: list[str]) -> list[str]:
    """Where adapters are kept (`litmus run --save`): for which methods other tools' formats are barred."""
    from bench.interop import holds, saved
    from bench.method import METHODS

    if not saved.wanted():
        return []
    lines = [holds.note(METHODS.read(spec)) for spec in specs if spec not in UNTRAINED]
    return [line for line in lines if line]


def real(base: str, loaded: list[Task], min_snr: float | None) -> list[str]:
    """What a user should know of tasks on a base of diffusers; LitmusError for an option that does nothing there."""
    from bench.bases.hub import locate, parse
    from bench.tasks.shape import cut_line

    source = locate(parse(base))
    if min_snr is not None and "FlowMatch" in source.index["scheduler"][1]:
        raise LitmusError(
            f"--min-snr weighs noise levels of diffusion, and {source.family.title} is a flow, whose target is "
            "balanced as it is: leave --min-snr out"
        )
    resolution = source.spec.resolution
    return [line for task in loaded if resolution and (line := cut_line(task, resolution))]


def unknown_line(task: str, words: list[str], base: str) -> str:
    """What it means that captions or prompts of a task hold words that the base was never taught."""
    named = ", ".join(words[:20]) + (f" and {len(words) - 20} more" if len(words) > 20 else "")
    return (
        f"{task}: the base {base} does not know the words: {named}; it reads each as the same blank token, so prompts "
        "that differ only there give the same picture, and text scores of these prompts say little"
    )


if __name__ == "__main__":
    subprocess.answer(survey)
