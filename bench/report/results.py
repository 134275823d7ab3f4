"""What a board holds, for people who compute and plot: records, a table of runs, a leaderboard. Imports no torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.core import paths
from bench.core.errors import LitmusError, nearest
from bench.records.record import Record, parse, read_board

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Material

Kind = Literal["subject", "style"]


class Records(list[Record]):
    """A list of records that knows the folder of its board, where the sample pictures lie (None: it came from none).

    Slices and comprehensions are plain lists.
    """

    folder: Path | None = None


# --- records -------------------------------------------------------------------------------------------------------


def board_names() -> list[str]:
    """Names of the boards in `results/`, sorted."""
    return sorted(folder.parent.name for folder in paths.results().glob("*/runs"))


def board_folder(board: str | Path) -> Path:
    """The folder of a board by its name, or by its path. LitmusError with the nearest name for any other."""
    folder = paths.results() / board if (paths.results() / board / "runs").is_dir() else Path(board)
    if not (folder / "runs").is_dir():
        raise LitmusError(nearest(str(board), board_names(), "board"))
    return folder


def load_records(board: str | Path) -> list[Record]:
    """All readable records of a board, one per run, in the order of their keys.

    Args:
        board: its name (`quick` for `results/quick`), its folder, or a `.jsonl` file with one record per line.

    Warns once (UserWarning) if there are files or lines that are no records: they are left out.

    Raises:
        LitmusError: no such board (with the nearest name), or nothing in it can be read.
    """
    out, faults = Records(), []
    if Path(board).suffix == ".jsonl" and Path(board).is_file():
        for number, line in enumerate(Path(board).read_text(encoding="utf-8").splitlines(), 1):
            try:
                out += [parse(line, f"{board}, line {number},")] if line.strip() else []
            except LitmusError as error:
                faults.append(str(error))
    else:
        out.folder = board_folder(board)
        found, faults = read_board(out.folder)
        out += found
    if not out:
        more = f" ({len(faults)} files that are no records; the first: {faults[0]})" if faults else ""
        raise LitmusError(f"no records in {board}: litmus bench makes them{more}")
    if faults:
        warnings.warn(f"{len(faults)} records cannot be read and are left out:\n" + "\n".join(faults), stacklevel=2)
    return out


# --- what the study makes of them ----------------------------------------------------------------------------------

_LAST: list[tuple[list[Record], Path | None, Material]] = []  # the last few studies: several figures share one


def study(records: Iterable[Record], board: str | Path | None = None) -> Material:
    """All that tables and figures of `records` are made from; the same list is studied once.

    LitmusError if there is no record of a trained method.
    """
    from bench.protocol.models import UNTRAINED
    from bench.report import material

    folder = board_folder(board) if board is not None else getattr(records, "folder", None)
    given = list(records)
    if not all(isinstance(r, Record) for r in given):
        raise LitmusError("records are what bench.load_records gives, or a part of it")
    for seen, where, found in _LAST:
        if where == folder and len(seen) == len(given) and all(a is b for a, b in zip(seen, given, strict=True)):
            return found
    if all(r.run.method in UNTRAINED for r in given):
        raise LitmusError("there is no run of a trained method among these records")
    name = folder.name if folder is not None else "these records"
    found = material.of(name, folder or Path(), given)
    _LAST.append((given, folder, found))
    del _LAST[:-4]
    return found


# --- tables --------------------------------------------------------------------------------------------------------

NORMS = {"concept": "concept_raw", "concept_norm": "concept", "follow_norm": "follow"}


def tidy(records: Iterable[Record]) -> pd.DataFrame:
    """One line per run of the newest comparable set of `records`, sorted by task, seed and row.

    Runs that differ in rules, base, evaluators, sampling or budget never share a table; what is left out, what failed
    and what lacks its floor or ceiling stands in `.attrs["warnings"]`, one str for each.

    Columns (float unless said; nan where it was not measured):
        key, row, spec, method, objective, base, task, kind, machine, status (str): the run; `row` is its name in
            tables, `kind` is subject or style. workers, threads (int): processes side by side, torch threads of each.
        lr: learning rate, nan for `base` and `truth`. seed (int).
        trained, failed, copies (bool): `copies` is concept above 1.
        concept, follow: 0 at the floor, 1 at the ceiling, not cut (docs/protocol.md); 0 for failed runs, nan
            for those that the machine ended (status oom, timeout, crashed).
        headline: concept times follow, each cut to [0, 1] before.
        concept_raw: the score behind concept: identity of subjects, style of styles.
        identity, style, text, attributes, drift, diversity, memorisation_gap, ...: raw scores (`litmus metrics`).
        scalars_*: counts. bytes_*: bytes. seconds_*: seconds. flops_step: FLOPs. *_per_second: 1/s.
        overhead_*: multiples of the base's denoiser call.
    """
    from bench.study import frame

    found = frame.tidy(records)
    table = found.frame.rename(columns=NORMS)
    table.attrs["warnings"] = list(found.warnings)
    return table


def leaderboard(records: Iterable[Record], base: str | None = None, kind: Kind | None = None) -> pd.DataFrame:
    """The numbers behind a board's table, one line per row in its order: truth, trained rows from best to worst, base.

    Args:
        records: runs on one base; `base` picks one where they hold several.
        kind: the block of `subject` or `style` tasks alone; None: all tasks.

    Columns (float unless said; nan where it was not measured or has no interval):
        rank_low, rank_high (Int64): best and worst place that Holm-adjusted paired t tests leave open; <NA>: unranked.
        ties (str): rows that share a letter cannot be told apart.
        row, spec, method, objective (str), trained (bool), lr: learning rate.
        headline, concept, follow, and each raw score under its name (concept_raw, identity, style, text, drift, ...):
            mean over tasks, seeds averaged inside a task first; with `_low` and `_high`, the ends of the 95 % interval
            over tasks.
        headline_iqm: mean of the middle half of the tasks' headlines.
        p_better, p_better_low, p_better_high: share of blocks in which the row beats the lora row; p_holm: the
            adjusted p of that difference.
        n_tasks, n_seeds, n_runs, n_failed (int): `n_seeds` is the fewest in a task.
        flags (str): what to know before reading the row, parted by "; ".
        scalars_*, bytes_*, seconds_*, *_per_second, flops_step, overhead_*: medians over runs, as in `tidy`. share:
            trainable scalars over the denoiser's. step_ratio: step time over the lora row's on the same machine.

    Raises:
        LitmusError: no such base or kind among the records, or no trained run.
    """
    import pandas as pd

    chosen: Sequence[Record] = records if isinstance(records, Records) else list(records)
    if base is not None:
        bases = {r.run.base for r in chosen}
        if base not in bases:
            raise LitmusError(nearest(base, bases, "base"))
        chosen = [r for r in chosen if r.run.base == base] if len(bases) > 1 else chosen
    m = study(chosen)
    lines: list[dict[str, Any]] = []
    specs = m.tidy.frame.groupby("row")["spec"].first()
    for x in m.block(kind).lines:
        low, high = x.rank or (None, None)
        line = {
            "rank_low": low,
            "rank_high": high,
            "ties": x.ties,
            "row": x.row,
            "spec": str(specs[x.row]),
            "method": x.method,
            "objective": x.objective,
            "trained": x.trained,
            "lr": x.lr,
        }
        scores = {name: x.get(name) for name in ("headline", "concept_norm", "follow_norm")}
        scores |= {name: seen for name, seen in x.values.items() if name not in scores}
        for name, seen in scores.items():
            name = NORMS.get(name, name)
            line |= {name: seen.value, f"{name}_low": seen.low, f"{name}_high": seen.high}
        better = x.better
        line |= {
            "headline_iqm": x.iqm.value,
            "p_better": better.value if better else float("nan"),
            "p_better_low": better.low if better else float("nan"),
            "p_better_high": better.high if better else float("nan"),
            "p_holm": x.p_better,
            "n_tasks": x.tasks,
            "n_seeds": x.seeds[0],
            "n_runs": x.runs,
            "n_failed": x.failed,
            "flags": "; ".join(x.flags),
            **x.costs,
        }
        lines.append(line)
    table = pd.DataFrame(lines)
    table[["rank_low", "rank_high"]] = table[["rank_low", "rank_high"]].astype("Int64")
    table.attrs["warnings"] = list(m.warnings)
    return table
