"""Records -> one tidy table, one row per run, with the norms that only the records of a whole block can give.

Floor, ceiling and headline follow the protocol (docs/protocol.md): within a block (base, task, seed) the frozen base is
0 and truth pictures that passed the VAE are 1.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from bench.metrics import known
from bench.protocol.models import UNTRAINED
from bench.records.lost import remedy, told
from bench.records.record import MACHINE, Record, Run
from bench.study import Frame

NORMS = ("concept_norm", "follow_norm", "headline")


@dataclass(frozen=True)
class Tidy:
    """`frame`: one row per run of one comparable set; `warnings`: one line for each thing that a reader must know."""

    frame: Frame
    warnings: list[str] = field(default_factory=list)


def kinds_of(records: Iterable[Record]) -> dict[str, str]:
    """Task -> `subject` or `style`, as its records say.

    Older records do not: there it is the score that they call concept, or the task's name where no run succeeded.
    """
    records = list(records)
    said = {r.run.task: r.kind for r in records if r.kind}
    older = {r.run.task: _kind_by_name(r.run.task) for r in records}
    for r in records:
        if ("style" in r.scores) != ("identity" in r.scores):
            older[r.run.task] = "style" if "style" in r.scores else "subject"
    return older | said


def _kind_by_name(task: str) -> str:
    """From `pocket/style-ink` or `folder:...?kind=style`."""
    name, _, query = task.partition("?")
    if asked := parse_qs(query).get("kind"):
        return asked[0]
    return "style" if PurePosixPath(name.removeprefix("folder:")).name.startswith("style") else "subject"


def worst_is_low(score: str) -> bool | None:
    """Whether a low value of a raw score is the bad end; None for a score that nobody is ranked by."""
    one = known(score)
    return one.higher_is_better if one else None


def short(task: str) -> str:
    """A task's name for tables: its last part, so that no path of a machine is printed."""
    name = task.partition("?")[0].partition(":")[2] or task.partition("?")[0]
    return PurePosixPath(name.replace("\\", "/")).name or name


def _setting(run: Run) -> str:
    """What all rows of a table must share, without the training budget (untrained rows have none)."""
    names = ("protocol", "code", "base", "base_digest", "extractors", "extractors_digest", "sample")
    return json.dumps(run.model_dump(mode="json", include=set(names)), sort_keys=True)


def _budget(run: Run) -> str:
    return run.train.model_dump_json() if run.train else ""


def comparable(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The newest comparable set of `records`, and a line for what was left out.

    Rows that differ in protocol number, code, base, extractors, sampling or training budget never share a table; nor
    do two versions of a task. The set of the record that finished last is kept: it is what the board is now.
    """
    # "finished" is ISO 8601 in UTC, so that text order is time order; the key breaks ties the same way every time.
    newest = sorted(records, key=lambda r: (r.provenance.finished, r.key), reverse=True)
    if not newest:
        return [], []
    trained = [r for r in newest if r.run.method not in UNTRAINED]
    lead = (trained or newest)[0].run
    digests: dict[str, str] = {}
    seen: set[tuple] = set()
    kept, left = [], 0
    for r in newest:
        run = r.run
        fits = _setting(run) == _setting(lead) and _budget(run) in ("", _budget(lead))
        cell = (run.spec, run.lr, run.objective, run.task, run.seed)
        if not fits or digests.setdefault(run.task, run.task_digest) != run.task_digest or cell in seen:
            left += 1
            continue
        seen.add(cell)
        kept.append(r)
    lines = []
    if left:
        lines.append(
            f"{left} of {len(newest)} records were made under other rules (protocol, code, base, extractors, task or "
            "budget) than the newest one and are left out: run the protocol again to replace them"
        )
    return kept, lines


def _names(records: Sequence[Record]) -> dict[str, str]:
    """Record key -> name of its row: the spec, with learning rate or objective where a spec has several."""
    rates, goals = {}, {}
    for r in records:
        if r.run.method not in UNTRAINED:
            rates.setdefault(r.run.spec, set()).add(r.run.lr)
            goals.setdefault(r.run.spec, set()).add(r.run.objective)
    out = {}
    for r in records:
        name = r.run.spec
        if len(goals.get(name, ())) > 1 and r.run.objective != "plain":
            name += f" + {r.run.objective}"
        if len(rates.get(r.run.spec, ())) > 1 and r.run.lr is not None:
            name += f" @ {r.run.lr:g}"
        out[r.key] = name
    return out


def _line(r: Record, name: str, kind: str, every: Iterable[str]) -> dict[str, Any]:
    run, machine = r.run, r.provenance.machine
    found = {k: float(v) for k, v in r.scores.items() if v is not None}
    scores = {k: found.get(k, math.nan) for k in every}
    concept = r.scores.get("concept", found.get("style" if kind == "style" else "identity", math.nan))
    return {
        "key": r.key,
        "row": name,
        "spec": run.spec,
        "method": run.method,
        "trained": run.method not in UNTRAINED,
        "lr": math.nan if run.lr is None else run.lr,
        "objective": run.objective,
        "base": run.base,
        "task": run.task,
        "kind": kind,
        "seed": run.seed,
        "status": r.status,
        "failed": not r.ok,
        **scores,
        "concept": math.nan if concept is None else float(concept),
        "machine": f"{machine.cpu}, {machine.cores} cores"
        + (f", {machine.device}" if machine.device not in ("", "cpu") else ""),
        "workers": machine.workers,
        "threads": machine.threads,
        **{k: math.nan if v is None else float(v) for k, v in r.cost.model_dump().items()},
    }


def tidy(records: Iterable[Record]) -> Tidy:
    """One row per run: raw scores and costs under their own names, and concept_norm, follow_norm, headline, copies.

    concept_norm = (concept - floor) / (ceiling - floor): floor = `base` in the same block, ceiling = `truth` (of any
    seed of the task, if not of this one). follow_norm likewise from the text score, between truth's `text_mismatch`
    and truth's own `text`. headline = the product of both, each cut to [0, 1], so that nothing is gained above a
    ceiling. `copies`: above it.
    A failed run is given norms and headline 0 and, for every raw score with a good end, its block's worst value; but
    where its block says nothing of the runs beside it, it says nothing of this one. One that the machine ended (out of
    memory, timed out, crashed) has neither norms nor scores.
    """
    import pandas as pd

    kept, warnings = comparable(records)
    names, kinds = _names(kept), kinds_of(kept)
    scores = dict.fromkeys(name for r in kept for name in r.scores)  # of all, so that they stand side by side
    frame: Frame = pd.DataFrame([_line(r, names[r.key], kinds[r.run.task], scores) for r in kept])
    if frame.empty:
        return Tidy(frame, ["there are no records yet: litmus bench makes them"])
    for column in ("concept", "text", "text_mismatch", *NORMS):
        if column not in frame:
            frame[column] = math.nan
    frame = frame.sort_values(["task", "seed", "row", "key"], ignore_index=True)
    truth = frame[(frame["method"] == "truth") & ~frame["failed"]]
    for (task, seed), block in frame.groupby(["task", "seed"], sort=True):
        floors = block[(block["method"] == "base") & ~block["failed"]]
        tops = truth[truth["task"] == task]
        tops = tops[tops["seed"] == seed] if (tops["seed"] == seed).any() else tops
        if len(floors) and len(tops):
            _norms(frame, block, floors.iloc[0], tops.iloc[0])
        _worst(frame, frame.loc[block.index])
    frame["copies"] = frame["trained"] & ~frame["failed"] & (frame["concept_norm"] > 1)
    return Tidy(frame, [*warnings, *_missing(frame, truth), *_failures(frame), *_lost(kept), *_evaluators(kept)])


def _norms(frame: Frame, block: Frame, floor: Frame, top: Frame) -> None:
    """Fill the norms of one block in place; a ceiling that is not above its floor leaves nan."""
    for norm, column, low, high in (
        ("concept_norm", "concept", floor["concept"], top["concept"]),
        ("follow_norm", "text", top["text_mismatch"], top["text"]),
    ):
        if high > low:
            frame.loc[block.index, norm] = (block[column] - low) / (high - low)
    # Above its ceiling concept is copying; and a style that hides what is shown has a low ceiling of follow, which
    # pictures that lack the style pass.
    both = frame.loc[block.index, ["concept_norm", "follow_norm"]].clip(0, 1)
    frame.loc[block.index, "headline"] = both["concept_norm"] * both["follow_norm"]


def _worst(frame: Frame, block: Frame) -> None:
    """Give the failed runs of one block 0 for the norms and the block's worst raw scores, in place.

    Only what the block says of others: a norm that its floor and ceiling do not define, or a score that none of the
    trained runs beside it has, would let a failed run stand on more tasks than they do.
    """
    own = block["failed"] & block["trained"] & ~block["status"].isin(MACHINE)
    failed = block.index[own]
    if not len(failed):
        return
    rivals = block[~block["failed"] & (block["trained"] | (block["method"] == "base"))]
    beside = block[block["trained"] & ~own]
    speakers = beside if len(beside) else rivals  # with no other trained run the frozen base speaks for its block
    for norm in NORMS:
        if speakers[norm].notna().any():
            frame.loc[failed, norm] = 0.0
    for column in block.columns:
        low = worst_is_low(str(column))
        if low is not None and speakers[column].notna().any():
            frame.loc[failed, column] = rivals[column].min() if low else rivals[column].max()


def _missing(frame: Frame, truth: Frame) -> list[str]:
    """One line each for missing ceilings, missing floors and ceilings below the floor."""
    blocks = frame.loc[frame["trained"], ["task", "seed"]].drop_duplicates()
    have = frame[(frame["method"] == "base") & ~frame["failed"]]
    floors = set(zip(have["task"], have["seed"], strict=True))
    top = sorted(set(blocks["task"]) - set(truth["task"]))
    low = sorted({t for t, s in zip(blocks["task"], blocks["seed"], strict=True) if (t, s) not in floors})
    lines = []
    if top:
        lines.append(f"no truth (ceiling) for {_few(top)}: no norms and no headline there, raw scores only")
    if low:
        lines.append(f"no frozen base (floor) in blocks of {_few(low)}: no concept norm and no headline there")
    rest = frame[frame["trained"] & ~frame["failed"] & ~frame["task"].isin([*top, *low])]
    for norm, word in (("concept_norm", "concept"), ("follow_norm", "text")):
        flat = sorted(set(rest.loc[rest[norm].isna(), "task"]))
        if flat:
            lines.append(f"the {word} score of truth is not above its floor for {_few(flat)}: no {norm} there")
    return lines


def _few(tasks: Sequence[str]) -> str:
    """Up to three task names and how many more."""
    names = [short(t) for t in tasks]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _failures(frame: Frame) -> list[str]:
    failed = frame[frame["failed"] & ~frame["status"].isin(MACHINE)]
    if failed.empty:
        return []
    return [
        f"{len(failed)} of {len(frame)} runs failed ({_counts(failed['status'])}): they count as headline 0 and as "
        "their block's worst"
    ]


def _counts(statuses: Iterable[str]) -> str:
    return ", ".join(f"{n} {told(s)}" for s, n in sorted(Counter(statuses).items()))


def _lost(records: Sequence[Record]) -> list[str]:
    """One line about the runs that the machine ended: how many, which, and what to do."""
    lost = [r for r in records if r.lost]
    if not lost:
        return []
    which = [f"{r.run.spec} on {short(r.run.task)}, seed {r.run.seed} ({told(r.status)})" for r in lost]
    more = f" and {len(which) - 3} more" if len(which) > 3 else ""
    return [
        f"{len(lost)} of {len(records)} runs were ended by the machine ({_counts(r.status for r in lost)}): they have "
        f"no score, and a row that lacks a task for it is not ranked: {'; '.join(which[:3])}{more}. To mend it: "
        f"{remedy(lost)}"
    ]


def losses(records: Iterable[Record]) -> Frame:
    """Loss tables of the comparable trained runs: columns row, task, seed, step, train, heldout.

    Each loss is divided by its own value at step 0, which is the frozen base's, so that tasks can be averaged.
    """
    import pandas as pd

    kept, _ = comparable(records)
    names, lines = _names(kept), []
    for r in kept:
        if r.run.method in UNTRAINED or not r.ok:
            continue
        starts = [x[0] if x else None for x in (r.curve.train, r.curve.heldout)]
        for i, step in enumerate(r.curve.steps):
            values = [x[i] if i < len(x) else None for x in (r.curve.train, r.curve.heldout)]
            parts = [v / s if v is not None and s else math.nan for v, s in zip(values, starts, strict=True)]
            lines.append((names[r.key], r.run.task, r.run.seed, step, *parts))
    return pd.DataFrame(lines, columns=["row", "task", "seed", "step", "train", "heldout"])


def _evaluators(records: Sequence[Record]) -> list[str]:
    """One line for each published evaluator that is another than the published one, or that nobody checked."""
    seen: Counter[str] = Counter()
    for r in records:
        found = dict(r.encoders.get("acceptance") or {})
        doubts = found.pop("doubts", [])
        if r.encoders and not found:
            seen[
                f"the evaluators {r.run.extractors} were not held against published values when these runs were made "
                f"(litmus extractors check {r.run.extractors}): their scores may not compare with papers'"
            ] += 1
        judged = f" (judged on: {', '.join(doubts)})" if doubts else ""
        for encoder, said in sorted(found.items()):
            if said["same"] is False:
                seen[
                    f"the evaluator {encoder} is reported as different: real pictures came out at {said['found']:.3f}, "
                    f"published is {said['expected']:.3f}{judged}: its scores do not compare with papers'"
                ] += 1
    return [f"{line} ({n} of {len(records)} runs)" if n < len(records) else line for line, n in seen.most_common()]
