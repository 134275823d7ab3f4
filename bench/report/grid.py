"""Sample grids: truth, base and methods below each other on the same prompts and the same noise."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.style import dress, figure, root_figure, style, theme
from bench.records.record import Record
from bench.report.labels import when_drawn

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 10  # prompts shown at most, evenly chosen
SAVED = 6  # columns of a stored sheet (bench.runner.run.COLUMNS)
GAP = 2  # white pixels between its pictures (bench.evaluation.sampler.grid)
WIDEST = 28  # characters of a row's name
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


def shown(rows: Mapping[str, Samples]) -> tuple[dict[str, Samples], list[int]]:
    """The entries of `rows` (label -> samples) whose prompts are those of the first, and which prompts are shown."""
    import numpy as np

    if not rows:
        return {}, []
    first = next(iter(rows.values()))
    kept = {k: v for k, v in rows.items() if v.prompts == first.prompts and v.pictures.shape == first.pictures.shape}
    prompts = len(first.prompts)
    return kept, [int(i) for i in np.unique(np.linspace(0, prompts - 1, min(COLUMNS, prompts)).round())]


def compose(rows: Mapping[str, Samples], references: Sequence[str] = ()) -> Figure | None:
    """A grid with one line per entry of `rows` (label -> samples) and the prompts written above the columns.

    Only lines whose prompts are those of the first are shown; `references` are labels set apart by a gap and in grey.
    """
    if not rows:
        return None
    with style():
        fig = figure(*extent(rows, references))
        compose_on(fig.subplots(), rows, references)
        return fig


def extent(rows: Mapping[str, Samples], references: Sequence[str] = ()) -> tuple[float, float]:
    """Width and height in inches of a figure in which each picture has its size."""
    kept, columns = shown(rows)
    left, head = 0.12 + 0.075 * min(max(map(len, kept)), WIDEST), 0.1 + 0.115 * max(map(len, _texts(kept, columns)))
    across, down = len(columns) * (CELL + SPACE) - SPACE, _tops(kept, references)[-1] + CELL
    return left + across + 0.12, head + down + 0.12


def compose_on(ax: Axes, rows: Mapping[str, Samples], references: Sequence[str] = ()) -> None:
    """Draw the same grid into `ax`, whose frame becomes the pictures': names on its left, prompts above."""
    import numpy as np

    kept, columns = shown(rows)
    tops = _tops(kept, references)
    side = next(iter(kept.values())).pictures.shape[1]
    across, down = len(columns) * (CELL + SPACE) - SPACE, tops[-1] + CELL
    canvas = np.zeros((round(down * side / CELL), round(across * side / CELL), 4), np.uint8)  # gaps: clear
    lefts = [round(j * (CELL + SPACE) * side / CELL) for j in range(len(columns))]
    starts = [round(top * side / CELL) for top in tops]
    for samples, v in zip(kept.values(), starts, strict=True):
        for u, column in zip(lefts, columns, strict=True):
            canvas[v : v + side, u : u + side, :3] = samples.pictures[column]
            canvas[v : v + side, u : u + side, 3] = 255
    dress(ax)
    ax.imshow(canvas, interpolation="nearest", aspect="equal")
    ax.set_yticks([v + side / 2 for v in starts], [k if len(k) <= WIDEST else k[: WIDEST - 1] + "…" for k in kept])
    ax.set_xticks([u + side / 2 for u in lefts], ["\n".join(text) for text in _texts(kept, columns)])
    ax.tick_params(length=0, pad=4, labelsize=8)
    ax.tick_params(axis="x", labeltop=True, labelbottom=False, labelsize=6.5)
    for label, name in zip(ax.get_yticklabels(), kept, strict=True):
        label.set_color(theme().soft if name in references else theme().ink)
    for label in ax.get_xticklabels():
        label.set(va="bottom", linespacing=1.15)
    for spine in ax.spines.values():
        spine.set_visible(False)

    def fit(renderer: Any) -> None:
        """Text as small as the pictures: axes may be of any size."""
        fig = root_figure(ax)
        cell = (ax.transData.transform([(side, 0)]) - ax.transData.transform([(0, 0)]))[0, 0] * 72 / fig.dpi
        for label in ax.get_xticklabels():
            label.set_fontsize(min(6.5, 6.5 * cell / (72 * CELL)))
        for label in ax.get_yticklabels():
            label.set_fontsize(min(8.0, max(4.0, 0.6 * cell)))

    when_drawn(ax, fit, 0)


def _tops(kept: Mapping[str, Samples], references: Sequence[str]) -> list[float]:
    """Inches from the top of the first line of pictures to that of each."""
    tops = [i * (CELL + SPACE) + (APART if label not in references else 0) for i, label in enumerate(kept)]
    return [top - tops[0] for top in tops]


def _texts(kept: Mapping[str, Samples], columns: Sequence[int]) -> list[list[str]]:
    """The prompts above the columns, as lines of text."""
    prompts = next(iter(kept.values())).prompts
    return [textwrap.wrap(prompts[i], 13, break_long_words=True, max_lines=5, placeholder="…") for i in columns]
