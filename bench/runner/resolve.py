"""What only torch can tell a plan, found out in a process of its own so that the runner's parent stays light.

`ask(protocol)` starts `python -m bench.runner.resolve`, which loads the registries, the base, the extractors and every
task that the protocol names: a wrong name or a broken picture is one line before anything runs.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.core import subprocess
from bench.core.errors import LitmusError
from bench.protocol.models import PSEUDO, UNTRAINED, Protocol
from bench.runner.plan import Catalogue, Competitor, Goal, TaskFacts, objectives, scored_with, specs, task_names

if TYPE_CHECKING:
    from bench.tasks import Task


def ask(protocol: Protocol, device: str = "", save: bool = False, dry: bool = False) -> Catalogue:
    """The catalogue of everything that `protocol` names. LitmusError for what is unknown, missing or broken.

    With `save`, for runs that keep their adapters, its notes say which formats cannot hold one. With `dry` nothing is
    fetched: what would have to be is said in `away`, and then the digests are empty.
    """
    request = _request(protocol, device, save, dry)
    return _read(subprocess.ask("bench.runner.resolve", request, "look up what the protocol names"))


def look_up(protocol: Protocol, device: str = "", save: bool = False, dry: bool = False) -> Catalogue:
    """`ask` in this process, for a caller that has torch loaded anyway."""
    return _read(survey(_request(protocol, device, save, dry)))


def _request(protocol: Protocol, device: str, save: bool, dry: bool) -> dict[str, Any]:
    return {
        "base": protocol.base,
        "device": device,
        "extractors": scored_with(protocol),
        "specs": specs(protocol),
        "tasks": task_names(protocol),
        "objectives": objectives(protocol),
        "min_snr": protocol.train.min_snr,
        "metrics": protocol.metrics,
        "save": save,
        "dry": dry,
    }


def _read(answer: dict[str, Any]) -> Catalogue:
    return Catalogue(
        competitors={name: Competitor(**one) for name, one in answer["competitors"].items()},
        tasks={name: TaskFacts(**one) for name, one in answer["tasks"].items()},
        objectives={name: Goal(**one) for name, one in answer["objectives"].items()},
        base_digest=answer["base_digest"],
        extractors_digest=answer["extractors_digest"],
        base=answer["base"],
        notes=tuple(answer["notes"]),
        metrics=tuple(answer["metrics"]),
        away=tuple(answer.get("away", ())),
        device=answer.get("device", ""),
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


def goal(spec: str) -> Goal:
    """An objective spec resolved against the registry; LitmusError for an unknown name or hyperparameter."""
    from bench.objectives import OBJECTIVES
    from bench.plugin.registry import source_digest

    made = OBJECTIVES.read(spec)
    return Goal(made.spec, source_digest(type(made)))


def survey(request: dict[str, Any]) -> dict[str, Any]:
    """The torch side of `ask`: a table that JSON can carry."""
    from bench.runner.unfetched import no_network

    with no_network() if request["dry"] else nullcontext():
        return _survey(request)


def _survey(request: dict[str, Any]) -> dict[str, Any]:
    from bench import tasks
    from bench.bases import base_facts, load_base, source_of
    from bench.core.device import working_device
    from bench.extractors import acceptance, extractors_digest
    from bench.metrics import metric

    # What the user wrote comes first: a misspelling must not wait for weights.
    device = str(working_device(request["device"]))
    competitors = {spec: asdict(competitor(spec)) for spec in request["specs"]}
    goals = {spec: asdict(goal(spec)) for spec in request["objectives"]}
    metrics = list(dict.fromkeys(metric(spec).spec for spec in request.get("metrics", ())))
    named = {"competitors": competitors, "objectives": goals, "metrics": metrics}
    if away := _away(request):
        return {
            **named,
            "base": request["base"],
            "tasks": {name: asdict(_guessed(name)) for name in request["tasks"]},
            "base_digest": "",
            "extractors_digest": "",
            "notes": [],
            "away": away,
        }
    loaded = {name: tasks.load(name) for name in request["tasks"]}
    source = source_of(request["base"])
    name, base_digest, said = base_facts(request["base"], device)
    digests = {"base_digest": base_digest, "extractors_digest": extractors_digest(request["extractors"], device)}
    formats = without_format(request["specs"]) if request.get("save") else []
    notes = [*said, *formats, *acceptance.notes(request["extractors"], digests["extractors_digest"])]
    if source.files():
        notes += real(name, list(loaded.values()), request.get("min_snr"))
    for task in loaded.values():
        if source.open_words:
            break
        # The world draws truth for its own tasks, in the base's own words; loading a base to ask costs seconds.
        if not task.has_truth:
            loaded_base = load_base(request["base"], device=device)
            if unknown := loaded_base.unknown_words(task.texts()):
                notes.append(unknown_line(task.name, unknown, request["base"]))
    return {
        **named,
        "base": name,
        "device": device,
        "tasks": {name: asdict(TaskFacts(t.digest, t.has_truth, t.split)) for name, t in loaded.items()},
        **digests,
        "notes": notes,
        "away": [],
    }


def _away(request: dict[str, Any]) -> list[str]:
    """What would have to be fetched, where nothing may be."""
    if not request["dry"]:
        return []
    from bench.runner.unfetched import unfetched

    return unfetched(request["base"], request["extractors"], request["tasks"])


def _guessed(name: str) -> TaskFacts:
    """A task of a plan that compares nothing; one that is not here has no truth, as only the world's tasks have it."""
    from bench import tasks

    if tasks.source(name).away(name):
        return TaskFacts("", False, tasks.source(name).split_of(name))
    found = tasks.load(name)
    return TaskFacts(found.digest, found.has_truth, found.split)


def without_format(specs: list[str]) -> list[str]:
    """Where adapters are kept (`litmus run --save`): for which methods other tools' formats are barred."""
    from bench.interop import holds
    from bench.method import METHODS

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
        f"{task}: the base {base} does not know the words: {named}; it spells them in pieces of letters that it was "
        "never taught, so what they add to a picture means nothing, and text scores of these prompts say little"
    )


if __name__ == "__main__":
    subprocess.answer(survey)
