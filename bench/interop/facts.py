"""What an adapter's file says about itself, in the safetensors header: a JSON table under "litmus", and what other
tools look for (the Stability AI model metadata standard, "modelspec.*").

Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import LitmusError
from bench.core.version import VERSION
from bench.records.provenance import now, provenance
from bench.records.record import finite

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.records.record import Record
    from bench.tasks import Task

KEY = "litmus"
FORMAT = 1  # of the table; a newer one is refused
PROMPTS = 8  # of a task's prompts, as examples
# What a task's pictures may be used for, where their collection says it; a task of one's own says nothing.
UNKNOWN = "not stated"


class Facts(BaseModel):
    """Where an adapter comes from. `kind` is the file's format: "litmus", "diffusers", "peft", "kohya", "pipeline"."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    kind: str = ""
    made_by: str = ""
    key: str = ""  # of the run
    method: str = ""
    source: str = ""  # digest of a plug-in method's file
    spec: str = ""
    hyper: dict[str, Any] = {}
    lr: float | None = None
    objective: str = ""
    train: dict[str, Any] = {}
    seed: int = 0
    base: str = ""
    base_digest: str = ""
    base_weights: dict[str, str] = {}  # "denoiser", and "text" where it is trained: digest of the weights alone
    base_licence: str = ""
    task: str = ""
    task_digest: str = ""
    class_word: str = ""
    trigger: str = ""
    prompts: tuple[str, ...] = ()
    scores: dict[str, float | None] = {}
    data_licence: str = ""
    versions: dict[str, str] = {}


def of_run(record: Record, base: Base, task: Task) -> Facts:
    """The facts of a run's adapter."""
    from bench.method import METHODS
    from bench.tasks import licence

    run, versions = record.run, provenance(now()).versions
    return Facts(
        kind="litmus",
        made_by=f"peft-litmus {VERSION}",
        key=record.key,
        method=run.method,
        source=run.source,
        spec=run.spec,
        hyper=run.hyper,
        lr=run.lr,
        objective=run.objective,
        train=run.train.model_dump() if run.train else {},
        seed=run.seed,
        base=_nameless(run.base),
        base_digest=base.digest,
        base_weights=weights(base, text=METHODS[run.method].side != "denoiser"),
        base_licence=base.licence or UNKNOWN,
        task=task.name if run.task.startswith("folder:") else run.task,
        task_digest=run.task_digest,
        class_word=task.class_word,
        trigger=task.identifier,
        prompts=tuple(p.text for p in task.prompts[:PROMPTS]),
        scores=finite(record.scores),
        data_licence=licence(run.task, task) or UNKNOWN,
        versions=versions,
    )


def weights(base: Base, text: bool = False) -> dict[str, str]:
    """Digests of the weights that an adapter sits on: the denoiser's, with `text` the text encoders'; {} for no files.

    They leave out what Base.digest holds beside them, such as dtype and resolution.
    """
    if base.source is None:
        return {}
    from bench.bases.source import weights_digest

    digests = {"denoiser": weights_digest(base.source)}
    return digests | ({"text": weights_digest(base.source, text=True)} if text else {})


def _nameless(base: str) -> str:
    """A base in a folder by the folder's name alone: a file that is handed on need not tell where it lay."""
    where, mark, options = base.partition("?")
    return Path(where).name + mark + options if Path(where).is_dir() else base


def header(facts: Facts, **more: str) -> dict[str, str]:
    """The safetensors metadata of a file: text by text, as the format wants it."""
    about = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": " ".join(filter(None, [facts.spec, facts.task, facts.key])),
        "modelspec.implementation": "https://github.com/huggingface/peft" if facts.kind == "peft" else facts.kind,
        "modelspec.trigger_phrase": facts.trigger,
        "modelspec.license": f"base: {facts.base_licence or UNKNOWN}; data: {facts.data_licence or UNKNOWN}",
        "modelspec.description": f"{facts.spec} on {facts.base} for {facts.task}, made by {facts.made_by}",
    }
    table = json.dumps(facts.model_dump(mode="json"), sort_keys=True, allow_nan=False)
    return {"format": "pt", KEY: table} | (about if facts.key else {}) | more


def read(metadata: Mapping[str, str] | None, file: object) -> Facts | None:
    """The facts in a file's header; None where another tool wrote it. LitmusError for a broken or newer table."""
    text = (metadata or {}).get(KEY)
    if text is None:
        return None
    try:
        facts = Facts.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        raise LitmusError(
            f"{file}: its header has a broken entry '{KEY}': it was cut or changed, get it anew"
        ) from None
    if facts.format > FORMAT:
        raise LitmusError(f"{file}: its header is of a newer litmus (format {facts.format}): update litmus")
    return facts


def lines(facts: Facts) -> list[tuple[str, str]]:
    """The facts in words, for a table: (what, value), leaving out what is not known."""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in sorted(facts.scores.items()) if value is not None)
    hyper = ", ".join(f"{name} {value}" for name, value in sorted(facts.hyper.items()) if value is not None)
    rows = [
        ("format", facts.kind),
        ("made by", facts.made_by),
        ("run", facts.key),
        ("method", f"{facts.spec} ({hyper})" if hyper else facts.spec),
        ("learning rate", "" if facts.lr is None else f"{facts.lr:g}"),
        ("training", ", ".join(f"{name} {value}" for name, value in facts.train.items())),
        ("base", f"{facts.base} ({facts.base_digest[:12]})" if facts.base else ""),
        ("task", facts.task),
        ("trigger", facts.trigger),
        ("prompts", " · ".join(facts.prompts)),
        ("scores", scores),
        ("licence of the base", facts.base_licence),
        ("licence of the data", facts.data_licence),
    ]
    return [(what, value) for what, value in rows if value]
