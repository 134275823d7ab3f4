"""`litmus plot`: one figure of a board, as a file for a paper, a page or a slide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_file
from bench.core.errors import LitmusError, nearest
from bench.core.text import split
from bench.report.results import board_folder, board_names

FIGURES = ("headline", "front", "tradeoff", "tasks", "curves", "costs", "tuning", "grid")
ENDINGS = ("png", "pdf", "svg")


def plot(
    board: Annotated[
        str, typer.Argument(autocompletion=board_names, help="a board's name, its folder, or a .jsonl of records")
    ],
    figure: Annotated[str, typer.Argument(autocompletion=lambda: list(FIGURES), help=", ".join(FIGURES))],
    out: Annotated[
        Path | None,
        output_file(
            "--out",
            help="the file: .png, .pdf or .svg  [default: BOARD-FIGURE.png]",
            endings=tuple(f".{ending}" for ending in ENDINGS),
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="rows to show, in this order: lora,bias,lora[rank=8]", show_default=False)
    ] = None,
    highlight: Annotated[
        str | None, typer.Option(help="rows that keep their colour while the others turn grey", show_default=False)
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="tasks of one kind: subject or style  [default: all]", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="of a grid: its task  [default: the first]")] = None,
    dark: Annotated[bool, typer.Option("--dark", help="light ink on transparent ground")] = False,
    transparent: Annotated[bool, typer.Option("--transparent", help="dark ink on transparent ground")] = False,
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="pixels per inch of a .png")] = 200,
) -> None:
    """Draw one figure of a board, as its report does.

    Numbers are those of the leaderboard whichever rows are shown. In Python: `bench.plot` (docs/plotting.md).

    Examples: `litmus plot quick front --out front.pdf` · `litmus plot quick headline --rows lora,bias --dark` ·
    `litmus plot zoo tradeoff --highlight lora,oft --out tradeoff.svg` · `litmus plot quick grid --task style-blueprint`
    """
    if figure not in FIGURES:
        raise LitmusError(nearest(figure, FIGURES, "figure"))
    if task is not None and figure != "grid":
        raise LitmusError(f"--task is for a grid: {figure} is about all tasks (--kind subject takes one kind)")
    path = out or Path(
        f"{Path(board).stem if board.endswith('.jsonl') else board_folder(board).resolve().name}-{figure}.png"
    )
    form = path.suffix.removeprefix(".").lower()
    _save(path, _drawn(board, figure, split(rows), split(highlight), kind, task, dark, (form, dpi, transparent)))
    print(path)


def _drawn(
    board: str,
    figure: str,
    rows: list[str],
    highlight: list[str],
    kind: str | None,
    task: str | None,
    dark: bool,
    form: tuple[str, int, bool],
) -> bytes:
    import warnings

    from bench.commands.shared import say
    from bench.core import style
    from bench.report import material
    from bench.report.results import load_records, study

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        records = load_records(board)
    for one in told:
        say(f"warning: {one.message}")
    m = study(records).only(rows, highlight)
    theme = "dark" if dark else "light"
    if figure == "grid":
        one = material.tasks_of(m, task)[0]
        drawings, problems = material.grids(m, theme, one)
        for line in problems:
            say(line)
    else:
        if figure in ("front", "tradeoff", "curves"):
            for line in material.left_out(m, m.drawn(m.block(kind))):
                say(line)
        drawings = material.drawings(m, theme, [figure], kind)
    if not drawings:
        raise LitmusError(f"{board} has nothing that the figure {figure} could show")
    return style.render(drawings[0].figure, form[0], form[1], transparent=form[2])


def _save(path: Path, data: bytes) -> None:
    """Whole or not at all; one clear line where it cannot be."""
    from bench.core.files import whole

    try:
        with whole(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise LitmusError(f"cannot write {path}: {error.strerror or error} (choose another file with --out)") from error
