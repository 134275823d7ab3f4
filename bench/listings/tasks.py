"""What is said of the tasks: the table and the card of `litmus tasks`. No picture is opened; imports no torch."""

from __future__ import annotations

from bench.core.errors import LitmusError
from bench.tasks import SOURCES, Prompt, licence, list_tasks, peek, source

HEADER = ["task", "kind", "split", "class", "train", "held out", "truth", "licence"]
SHOWN = 3  # captions and prompts on a card


def table(split: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Header and a row per task that is there; one that cannot be read says why in place of its facts."""
    rows = []
    for name in list_tasks(split):
        try:
            task = peek(name)
            found = licence(name, task)
        except LitmusError as error:
            rows.append([name, "?", "?", "", "", "", "", f"cannot be read: {error}"])
            continue
        pictures = [str(len(task.train)), str(len(task.heldout))]
        rows.append([name, task.kind, task.split, task.class_word, *pictures, _yes(task.has_truth), found])
    return HEADER, rows


def sources() -> tuple[list[str], list[list[str]]]:
    """Header and a row per source of tasks: how one is written, and what it is."""
    SOURCES.load()
    return ["written as", "what it is"], [[cls.form, cls.about] for _, cls in sorted(SOURCES.items())]


def card(name: str) -> list[list[str]]:
    """What is known of one task, a row per fact. LitmusError for a name that no source knows."""
    task, where = peek(name), source(name)
    places = {str(picture.file.parent) for picture in task.train}
    size = task.resolution if isinstance(task.resolution, int) else " x ".join(map(str, task.resolution[::-1]))
    rows = [
        ["task", name],
        ["source", f"{where.name}: {where.about}"],
        ["kind", task.kind],
        ["split", task.split],
        ["class word", task.class_word or "none"],
        ["identifier", task.identifier],
        ["pictures", f"{len(task.train)} to train on, {len(task.heldout)} held out, at {size} px by default"],
        ["in", ", ".join(sorted(places))],
        ["prompts", f"{len(task.prompts)} of the concept, {len(task.prior)} of its class, {len(task.drift)} of others"],
        ["truth", f"{sum(len(p.truth) for p in task.prompts)} pictures" if task.has_truth else "none: no ceiling"],
        ["licence", licence(name, task) or "not stated"],
    ]
    rows += [["caption", text] for text in list(dict.fromkeys(p.caption for p in task.train))[:SHOWN]]
    rows += [["prompt", _asked(prompt)] for prompt in task.prompts[:SHOWN]]
    return rows + [["note", note] for note in task.notes]


def _asked(prompt: Prompt) -> str:
    asks = ", ".join(f"{key}: {value}" for key, value in prompt.asks.items())
    return prompt.text + (f" ({asks})" if asks else "")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
