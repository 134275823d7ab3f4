"""The report of a board: tables, figures and one page, from its records alone; imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from bench.report.material import Material

__all__ = ["Written", "kept", "terminal", "write"]

OWN = ("headline", "front", "tradeoff", "tasks", "curves", "costs", "tuning")  # figures; and grid-*


STAMP = ".report"  # beside the report: what it was made from, by `state`


@dataclass(frozen=True)
class Written:
    """The files of a report, and one line for each record or picture that could not be used."""

    paths: list[Path]
    problems: list[str]


def state(board: Path) -> str:
    """sha256 over a board's title, records and pictures and over the code that makes reports of them."""
    from bench.records.about import about
    from bench.records.features import SUFFIX

    code = Path(__file__).parents[1]
    digest = hashlib.sha256(about(board).title.encode())
    runs = [file for file in (board / "runs").glob("*") if not file.name.endswith(SUFFIX)]  # large, and not shown
    for file in sorted([*runs, *(code / "report").rglob("*.*"), *(code / "study").glob("*.py")]):
        if file.suffix != ".pyc":
            digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def kept(board: Path) -> Written | None:
    """The report that lies in the board's folder, if it is whole and nothing it was made from has changed since."""
    try:
        stamp = json.loads((board / STAMP).read_text(encoding="utf-8"))
        paths = [board / name for name in stamp["files"]]
        if stamp["state"] == state(board) and all(path.is_file() for path in paths):
            return Written(paths, list(stamp["problems"]))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def write(board: Path, material: Material | None = None) -> Written:
    """Write table.md, table.csv, table.tex, figures/*.png and .svg, and report.html into the board's folder.

    `material` is what `gather` gave for this board. Each file is written whole or not at all. LitmusError if there is
    no readable record or a file cannot be written.
    """
    from bench.core import style
    from bench.core.files import write_bytes
    from bench.report import page, table
    from bench.report.material import drawings, gather, grids

    made_of = state(board)
    m = material or gather(board)
    figures = {theme: drawings(m, theme) for theme in style.THEMES}
    samples, missing = grids(m)
    files = {
        "table.md": markdown(m).encode(),
        "table.csv": table.to_csv(m.boards).encode(),
        "table.tex": latex(m).encode(),
    }
    for drawing in (*figures["light"], *samples):
        files[f"figures/{drawing.name}.png"] = style.render(drawing.figure, "png")
        if not drawing.rows:  # a grid is pixels anyway
            files[f"figures/{drawing.name}.svg"] = style.render(drawing.figure, "svg")
    problems = [*m.problems, *missing]
    files["report.html"] = page.html(m, figures, samples, problems).encode()
    for name, data in files.items():
        write_bytes(board / name, data)
    for path in (board / "figures").glob("*.*"):  # ours of an earlier report that has no data now
        if (path.stem in OWN or path.stem.startswith("grid-")) and f"figures/{path.name}" not in files:
            path.unlink()
    write_bytes(board / STAMP, json.dumps({"state": made_of, "files": list(files), "problems": problems}).encode())
    return Written([board / name for name in files], problems)


def markdown(m: Material) -> str:
    """The whole table.md."""
    from bench.report import sheet, table

    parts = [f"# {sheet.markdown_text(m.heading)}\n\n{sheet.markdown_text(m.summary)}\n"]
    if m.warnings:
        parts.append("\n".join(f"- {sheet.markdown_text(w)}" for w in m.warnings) + "\n")
    for board in m.boards:
        parts += [sheet.markdown(table.main_sheet(board)), sheet.markdown(table.more_sheet(board), 3)]
    parts += [sheet.markdown(s) for s in m.sheets]
    if len(m.whole.pairs):
        parts.append(sheet.markdown(table.pair_sheet(m.whole)))
    return "\n".join([*parts, LEGEND])


LEGEND = """\
headline [95 %]: mean over tasks of concept × follow, each cut to 0 to 1 (nothing is gained above truth), with its
interval over tasks (seeds averaged inside a task).
concept, follow: 0 = the frozen base (for follow: truth pictures of other prompts), 1 = truth pictures through the VAE.
rank: the places that Holm-adjusted paired t tests leave open, for all rows at once; ties: rows that share a letter
cannot be told apart by these tests; "1 seed": one seed per task;
"copies": runs above truth, which copy their training pictures; runs that diverged or stopped by an error count as
headline 0, and those that the machine ended (out of memory, timed out, crashed) have no score.
"""


def latex(m: Material) -> str:
    """The whole table.tex: one table per block and one for its details; needs the package booktabs."""
    from bench.report import sheet, table

    parts = [r"% \usepackage{booktabs}"]
    for board in m.boards:
        parts += [sheet.latex(table.main_sheet(board)), sheet.latex(table.more_sheet(board))]
    return "\n".join([*parts, *(sheet.latex(s) for s in m.sheets)])


def terminal(board: Path, console: Console, material: Material | None = None) -> list[str]:
    """Print a board's leaderboards as wide as the console; returns the lines about records that could not be read.

    `material` is what `gather` gave for this board.
    """
    from rich.text import Text

    from bench.report import sheet, table
    from bench.report.material import gather

    m = material or gather(board)
    console.print(Text(sheet.printable(m.heading), style="bold"))
    console.print()
    for part in m.boards:
        shown = table.main_sheet(part)
        console.print(sheet.terminal(shown, console.width))
        if gone := sheet.left_out(shown, console.width):
            console.print(Text(f"  {gone}"))
        for note in shown.notes:
            console.print(Text(sheet.printable(f"  {note}")))
        console.print()
    for extra in m.sheets:
        console.print(sheet.terminal(extra, console.width))
        if gone := sheet.left_out(extra, console.width):
            console.print(Text(f"  {gone}"))
    for line in m.warnings:
        console.print(Text(sheet.printable(f"note: {line}")))
    return m.problems
