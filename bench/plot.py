"""Figures of a board as matplotlib Axes: the report's own pictures, one panel each, for papers and notebooks.

    records = bench.load_records("quick")
    ax = bench.plot.front(records, kind="subject")
    ax.figure.savefig("front.pdf")

Every function takes `records` (what `bench.load_records` gives, or a part of it) and draws into `ax`, or into a new
pyplot figure of a fitting size. All numbers are those of the leaderboard: `rows` and `highlight` change what is shown,
never what is tested. Common arguments:

    rows: names of rows to draw, in this order (None: all, in the board's order).
    highlight: names of rows that keep their colour and label while the others recede to grey (None: with more than 12
        rows the five best and the best-known methods, else all).
    kind: tasks of one kind, `subject` or `style` (None: all).
    style: `light`, or `dark`: light ink on transparent ground.

All raise LitmusError, in one line and with the nearest name, for an unknown name and where there is nothing to draw.
Labels are placed when the figure is drawn, so that they stay apart whatever becomes of its size. Imports no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.core.errors import LitmusError, nearest
from bench.records.record import Record
from bench.report.results import Kind, study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.report.material import Material
    from bench.study.leaderboard import Board

Style = Literal["light", "dark"]
__all__ = ["curves", "front", "grid", "headline", "tradeoff"]


def headline(
    records: Iterable[Record],
    ax: Axes | None = None,
    *,
    rows: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    kind: Kind | None = None,
    style: Style = "light",
) -> Axes:
    """The ladder of rows, best first: mean headline with its 95 % interval over tasks, and a small mark per task.

    x: headline, without unit, 0 = frozen base, 1 = truth through the VAE; failed runs count as 0. y: rows. On the right
    the ranks that paired tests leave open for all rows at once, or on how many tasks an unranked row ran.
    """
    from bench.report import figure

    m = _material(records, rows, highlight)
    board = m.drawn(m.block(kind))
    if not figure.has_headline(board):
        raise LitmusError(NO_HEADLINE)
    with _axes(ax, style, figure.headline_size(board)) as ax:
        figure.headline_on(ax, board, m.tidy.frame, _looks(m))
        return ax


def front(
    records: Iterable[Record],
    ax: Axes | None = None,
    *,
    cost: str = "scalars_trainable",
    rows: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    kind: Kind | None = None,
    style: Style = "light",
) -> Axes:
    """Headline against a cost, with the Pareto front of the means as a staircase.

    x: `cost` on a logarithmic scale, the median over runs: scalars_trainable, scalars_stored (counts), bytes_disk,
    bytes_peak (bytes), flops_step (FLOPs), seconds_step, seconds_total (seconds), step_ratio (multiples of
    lora's step). y: headline, 0 = frozen base, 1 = truth, with its 95 % interval over tasks. Rows on the front always
    stand out.
    """
    from bench.report import front as fronts

    _known(cost, fronts.COSTS, "cost")
    m, board = _block(records, rows, highlight, kind)
    if not fronts.costed(board, cost):
        raise LitmusError(f"no ranked row has a headline and {cost}: there is no front to draw")
    with _axes(ax, style, (4.7, 3.6)) as ax:
        fronts.front_on(ax, board, _looks(m), cost)
        return ax


def tradeoff(
    records: Iterable[Record],
    ax: Axes | None = None,
    *,
    x: str = "concept",
    y: str = "follow",
    rows: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    kind: Kind | None = None,
    style: Style = "light",
) -> Axes:
    """One score against another, each a mean over tasks with its 95 % interval; grey lines of equal headline.

    `x`, `y`: concept, follow (0 = floor, 1 = ceiling), headline, drift, diversity, memorisation_gap, prior_leak,
    prior_preservation, attributes, kid, text (raw, docs/protocol.md). `x="drift", y="headline"` is what a method does
    to the rest of the base. Where some rows recede, an interval that is wider than the picture is left out.
    """
    from bench.report import front as fronts

    for name in (x, y):
        _known(name, fronts.SCORES, "score")
    m, board = _block(records, rows, highlight, kind)
    if not fronts.scored(board, x, y):
        raise LitmusError(f"no ranked row has both {x} and {y}: there is nothing to draw")
    with _axes(ax, style, (4.0, 3.6)) as ax:
        fronts.tradeoff_on(ax, board, _looks(m), x, y)
        return ax


def curves(
    records: Iterable[Record],
    ax: Axes | None = None,
    *,
    split: Literal["train", "heldout"] = "train",
    rows: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    kind: Kind | None = None,
    style: Style = "light",
) -> Axes:
    """Loss over optimiser steps on the training pictures (`train`) or the task's others (`heldout`).

    x: optimiser steps. y: mean squared error of the predicted noise on a fixed table of pictures, timesteps and noise,
    divided by the frozen base's, mean over tasks and seeds: 1 at step 0, without unit.
    """
    from bench.report import curves as lines
    from bench.report.material import comparable_losses

    _known(split, lines.SPLITS, "split")
    m, board = _block(records, rows, highlight, kind)
    table = comparable_losses(m, board)
    if not table[split].notna().any():
        raise LitmusError(f"no run of these rows has a loss on {lines.SPLITS[split]}")
    with _axes(ax, style, (4.4, 3.3)) as ax:
        lines.curves_on(ax, table, _looks(m), split)
        return ax


def grid(
    records: Iterable[Record],
    ax: Axes | None = None,
    *,
    task: str | None = None,
    board: str | Path | None = None,
    rows: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    style: Style = "light",
) -> Axes:
    """Sample pictures: truth, frozen base and methods below each other, the same prompts and noise in every column.

    `task`: its name or the last part of it (None: the board's first, subjects before styles). At most ten prompts, of
    the lowest seed that most rows have; of many rows those that stand out.

    The pictures lie beside the records. A list from `bench.load_records` knows where; for any other say which `board`
    (its name or folder).
    """
    from bench.report import grid as grids
    from bench.report.material import NAMED, samples, tasks_of

    m = _material(records, rows, highlight, board)
    if m.folder == Path():
        raise LitmusError("these records do not know where their pictures lie: grid(records, board='quick')")
    name = tasks_of(m, task)[0]
    found, _, problems = samples(m, name)
    if not found:
        told = f": {problems[0]}" if problems else f": their files are not in {m.folder / 'runs'}"
        raise LitmusError(f"no sample pictures of {name}{told}")
    with _axes(ax, style, grids.extent(found, NAMED)) as ax:
        grids.compose_on(ax, found, NAMED)
        return ax


# --- what they share -----------------------------------------------------------------------------------------------

NO_HEADLINE = "there is no headline to draw: it takes runs of `base` and `truth` beside those of the methods"


def _material(
    records: Iterable[Record],
    rows: Sequence[str] | None,
    highlight: Sequence[str] | None,
    board: str | Path | None = None,
) -> Material:
    for given, name in ((rows, "rows"), (highlight, "highlight")):
        if isinstance(given, str):
            raise LitmusError(f"{name} is a list of names: {name}=[{given!r}]")
    return study(records, board).only(rows or (), highlight or ())


def _block(
    records: Iterable[Record], rows: Sequence[str] | None, highlight: Sequence[str] | None, kind: str | None
) -> tuple[Material, Board]:
    """What is drawn of one kind of task; warns of asked rows that cannot stand beside the others."""
    from bench.report.material import left_out

    m = _material(records, rows, highlight)
    board = m.drawn(m.block(kind))
    for line in left_out(m, board):
        warnings.warn(line, stacklevel=3)
    return m, board


def _known(name: str, known: Iterable[str], what: str) -> None:
    if name not in known:
        raise LitmusError(nearest(name, known, what))


def _looks(m: Material) -> Any:
    from bench.core.style import visible

    return visible(m.looks)


@contextmanager
def _axes(ax: Axes | None, style: str, size: tuple[float, float]) -> Iterator[Axes]:
    """`ax`, dressed in the style, or the axes of a new pyplot figure of `size` inches."""
    from bench.core import style as styles

    _known(style, styles.THEMES, "style")
    with styles.style(style, own_font=ax is None):
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure(figsize=size, layout="constrained").add_subplot()
        styles.dress(ax)
        yield ax
