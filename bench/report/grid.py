"""Sample grids: truth, base and methods below each other on the same prompts and the same noise."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.style import INK, SOFT, figure, style
from bench.records.record import Record

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

COLUMNS = 10  # prompts shown at most, evenly chosen
SAVED = 6  # columns of a stored sheet (bench.runner.run.COLUMNS)
GAP = 2  # white pixels between its pictures (bench.evaluation.sampler.grid)
CELL, SPACE, APART = 0.64, 0.04, 0.12  # inches: a picture, the gap between two, the gap below the references


@dataclass(frozen=True)
class Samples:
    """What a record drew: its prompts and the first picture of each, (P, H, W, 3) uint8."""

    prompts: list[str]
    pictures: np.ndarray


def cut(sheet: np.ndarray, prompts: int) -> np.ndarray | None:
    """The first picture of each prompt (P, side, side, 3) from a stored sheet (H, W, 3); None if it is no such sheet.

    A sheet holds n square pictures per prompt in prompt order: in one strip without gaps, or in rows of 6 with 2 white
    pixels between them. Truth has as many per prompt as its task gives, so n is found from the sheet: the largest whose
    gaps are all white and whose last picture is not.
    """
    import numpy as np

    height, width = sheet.shape[:2]
    count, rest = divmod(width, height)
    if not rest and not count % prompts:
        return np.stack([sheet[:, i * height : (i + 1) * height] for i in range(0, count, count // prompts)])
    for each in range(16, 0, -1):
        count = prompts * each
        columns = min(SAVED, count)
        pitch, rest = divmod(width + GAP, columns)  # a picture and the gap after it
        rows = -(-count // columns)
        if rest or pitch <= GAP or height != rows * pitch - GAP:
            continue
        down, across = np.arange(height) % pitch >= pitch - GAP, np.arange(width) % pitch >= pitch - GAP
        corners = [(i // columns * pitch, i % columns * pitch) for i in range(count)]
        found = np.stack([sheet[y : y + pitch - GAP, x : x + pitch - GAP] for y, x in corners])
        if (sheet[down] == 255).all() and (sheet[:, across] == 255).all() and (found[-1] < 255).any():
            return found[::each]
    return None


def read(record: Record, folder: Path) -> Samples | str:
    """A record's pictures and prompts from the files beside it, or why they cannot be shown in one line.

    The line is "" where the files are not there at all: a failed run drew nothing, and pictures may be left behind when
    records are handed on.
    """
    import numpy as np
    from PIL import Image

    names = [record.files.get("prompts"), record.files.get("grid")]
    paths = [folder / Path(str(name)).name for name in names if name]  # never outside the board
    if len(paths) < 2 or not all(path.is_file() for path in paths):
        return ""
    try:
        prompts = json.loads(paths[0].read_bytes())["prompts"]
        with Image.open(paths[1]) as picture:
            sheet = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no sample pictures of {record.run.spec} on {record.run.task}: {type(error).__name__}"
    prompts = [str(p) for p in prompts]
    pictures = cut(sheet, len(prompts)) if prompts else None
    if pictures is None:
        return f"no sample pictures of {record.run.spec} on {record.run.task}: {paths[1].name} has an unknown layout"
    return Samples(prompts, pictures)


def compose(rows: Mapping[str, Samples], references: Sequence[str] = ()) -> Figure | None:
    """A grid with one line per entry of `rows` (label -> samples) and the prompts written above the columns.

    Only lines whose prompts are those of the first are shown; `references` are labels set apart by a gap and in grey.
    """
    import numpy as np

    if not rows:
        return None
    prompts = next(iter(rows.values())).prompts
    shape = next(iter(rows.values())).pictures.shape
    kept = {k: v for k, v in rows.items() if v.prompts == prompts and v.pictures.shape == shape}
    columns = list(np.unique(np.linspace(0, len(prompts) - 1, min(COLUMNS, len(prompts))).round().astype(int)))
    texts = [textwrap.wrap(prompts[i], 13, break_long_words=True, max_lines=5, placeholder="…") for i in columns]
    left, head = 0.12 + 0.075 * min(max(map(len, kept)), 28), 0.1 + 0.115 * max(map(len, texts))
    tops = [i * (CELL + SPACE) + (APART if label not in references else 0) for i, label in enumerate(kept)]
    tops = [top - tops[0] for top in tops]
    across, down = len(columns) * (CELL + SPACE) - SPACE, tops[-1] + CELL
    width, height = left + across + 0.06, head + down + 0.06
    side = next(iter(kept.values())).pictures.shape[1]
    canvas = np.full((round(down * side / CELL), round(across * side / CELL), 3), 255, np.uint8)
    with style():
        fig = figure(width, height)
        fig.set_layout_engine("none")
        for j, text in enumerate(texts):
            x = (left + j * (CELL + SPACE) + CELL / 2) / width
            for k, line in enumerate(reversed(text)):  # one by one: lines of neighbouring columns share a baseline
                y = 1 - (head - 0.07 - 0.112 * k) / height
                fig.text(x, y, line, ha="center", va="baseline", fontsize=6.5)
        for (label, samples), top in zip(kept.items(), tops, strict=True):
            name = label if len(label) <= 28 else label[:27] + "…"
            y, colour = 1 - (head + top + CELL / 2) / height, SOFT if label in references else INK
            fig.text((left - 0.07) / width, y, name, ha="right", va="center", fontsize=8, color=colour)
            for j, column in enumerate(columns):
                v, u = round(top * side / CELL), round(j * (CELL + SPACE) * side / CELL)
                canvas[v : v + side, u : u + side] = samples.pictures[column]
        ax = fig.add_axes((left / width, 0.06 / height, across / width, down / height))
        ax.imshow(canvas, interpolation="nearest", aspect="auto")
        ax.set_axis_off()
        return fig
