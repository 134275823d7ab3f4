"""The gallery of a board: one line per method with its scores on each task and a strip of its pictures.

It is what docs/methods.md shows below the table of capabilities, so it is Markdown with pictures beside it: small
JPEGs that a code host shows in a table. Scores are normalised in the block: 0 is the frozen base, 1 is truth.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import write_bytes
from bench.records.record import Record, read_board
from bench.report import grid
from bench.report.sheet import DASH
from bench.report.table import NAMES
from bench.report.value import number, rate, rough
from bench.study.frame import short, tidy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SHOWN = 4  # prompts of each task, evenly chosen
GAP = 4  # white pixels between two tasks' pictures


def write(board: Path, page: Path, methods: Sequence[str]) -> str:
    """The gallery of `board` (its folder) as Markdown for `page`, whose pictures are written to a folder of its name.

    One line for each of `methods` and for base and truth, at the board's first seed; a
    method without records says so. Old pictures of methods that are gone are removed.
    """
    records, _ = read_board(board)
    frame = tidy(records).frame
    pictures = page.with_suffix("")
    names = [*(n for n in ("truth", "base") if (frame["method"] == n).any()), *(m for m in methods if m not in NAMES)]
    tasks = sorted(frame["task"].unique(), key=lambda task: ("/style" in task, task))
    seed = int(frame["seed"].min())
    header = ["method", "rate", "trained", *(f"{short(t)}: {what}" for t in tasks for what in ("concept", "follows"))]
    lines = []
    for name in names:
        rows = frame[(frame["spec"] == name) & (frame["seed"] == seed) & (frame["objective"].isin(["plain", ""]))]
        found = {str(row["task"]): row for _, row in rows.iterrows()}
        cells = [cell for task in tasks for cell in _scores(found.get(task))]
        kept = [r for t in tasks for r in records if t in found and r.key == found[t]["key"]]
        strip = _strip(kept, board / "runs")
        file = pictures / f"{name}.jpg"
        if strip is not None:
            _save(strip, file)
        # Grids stay on the machine that drew them: elsewhere the strip that is there already is kept.
        shown = f"![{name}]({pictures.name}/{file.name})" if found and file.is_file() else ""
        lines.append(
            [
                NAMES.get(name, f"[{name}](#{name})"),
                *_facts(rows),
                *cells,
                shown or ("no picture" if found else "no run"),
            ]
        )
    for file in pictures.glob("*.jpg"):
        if file.stem not in names:
            file.unlink()
    rows = [[*header, "samples"], ["---"] * (len(header) + 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _facts(rows: pd.DataFrame) -> list[str]:
    if not any(rows["trained"]):
        return ["", ""]
    one: Any = rows.iloc[0]
    return [rate(float(one["lr"])), rough(float(one.get("scalars_trainable", math.nan)))]


def _scores(row: Any) -> tuple[str, str]:
    """Concept and following of a row of the frame, or None: no run."""
    if row is None:
        return DASH, DASH
    if row["failed"]:
        return str(row["status"]), DASH
    return number(row["concept_norm"]), number(row["follow_norm"])


def _strip(records: Sequence[Record], runs: Path) -> np.ndarray | None:
    """Pictures of a few prompts of each record side by side, (side, width, 3) uint8; None without pictures."""
    import numpy as np

    parts: list[np.ndarray] = []
    for record in records:
        samples = grid.read(record, runs)
        if isinstance(samples, str):
            continue
        chosen = np.unique(np.linspace(0, len(samples.prompts) - 1, SHOWN).round().astype(int))
        side = samples.pictures.shape[1]
        parts += [np.full((side, GAP, 3), 255, np.uint8)] * bool(parts)
        parts += [samples.pictures[i] for i in chosen]
    return np.concatenate(parts, axis=1) if parts else None


def _save(strip: np.ndarray, file: Path) -> None:
    from PIL import Image

    sheet = io.BytesIO()
    Image.fromarray(strip).save(sheet, "JPEG", quality=88, subsampling=0)
    write_bytes(file, sheet.getvalue())
