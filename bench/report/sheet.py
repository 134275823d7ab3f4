"""A sheet: a small table of ready text, and its forms (terminal, Markdown, LaTeX). Knows nothing of what it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

DASH = "–"  # a value that does not exist


@dataclass(frozen=True)
class Cell:
    """Text as shown, and the number that a page sorts by (None: sorted last); `short` is for terminals."""

    text: str
    sort: float | None = None
    short: str = ""


@dataclass(frozen=True)
class Head:
    """A column: its title, what it means (shown as a tip and in the legend), and whether it holds numbers."""

    title: str
    meaning: str = ""
    number: bool = True
    short: str = ""  # title in a terminal
    width: int = 0  # width in a terminal at which its text is folded; 0: as wide as its text
    drop: int = 0  # columns with the highest numbers are left out first where a terminal is too narrow; 0: never


@dataclass(frozen=True)
class Sheet:
    """`rows` hold one cell per head. `marks` names rows set apart (`truth`, `base`, `open`), "" for the others."""

    title: str
    heads: list[Head]
    rows: list[list[Cell]]
    marks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mark(self, i: int) -> str:
        return self.marks[i] if i < len(self.marks) else ""


def printable(text: str) -> str:
    """One line without control characters: a name out of a record must not move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text.replace("\n", " ").replace("\t", " "))


# --- Markdown -----------------------------------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """`text` as literal Markdown inside a table cell."""
    return re.sub(r"([\\`*<>|])", r"\\\1", printable(text)).replace("](", "]\\(")


def markdown(sheet: Sheet, level: int = 2) -> str:
    """A heading, a pipe table and its notes."""
    heads = [markdown_text(h.title) for h in sheet.heads]
    rules = ["---:" if h.number else "---" for h in sheet.heads]
    body = [[markdown_text(c.text) for c in row] for row in sheet.rows]
    lines = [
        f"{'#' * level} {markdown_text(sheet.title)}",
        "",
        *("| " + " | ".join(r) + " |" for r in [heads, rules, *body]),
    ]
    if sheet.notes:
        lines += ["", *(f"- {markdown_text(n)}" for n in sheet.notes)]
    return "\n".join(lines) + "\n"


# --- LaTeX --------------------------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "÷": r"$\div$", "−": "$-$",
    "[": "{[}", "]": "{]}",  # a cell that starts with "[" would be read as the optional argument of \\
}  # fmt: skip


def latex_text(text: str) -> str:
    """`text` as literal LaTeX."""
    return "".join(_LATEX.get(c, c) for c in printable(text))


def latex(sheet: Sheet) -> str:
    """A booktabs tabular in a table float; truth, base and unranked rows are set off by rules."""
    columns = "".join("r" if h.number else "l" for h in sheet.heads)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(sheet.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    lines += [r"\toprule", " & ".join(latex_text(h.title) for h in sheet.heads) + r" \\", r"\midrule"]
    for i, row in enumerate(sheet.rows):
        if i and sheet.mark(i) != sheet.mark(i - 1):
            lines.append(r"\midrule")
        lines.append(" & ".join(latex_text(c.text) for c in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {latex_text(n)}" for n in sheet.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


# --- terminal -----------------------------------------------------------------------------------------------------


def _needs(sheet: Sheet, i: int) -> int:
    """Width of column `i` in characters, its gap of two included."""
    head = sheet.heads[i]
    text = max((len(row[i].short or row[i].text) for row in sheet.rows), default=0)
    return max(len(head.short or head.title), min(text, head.width or text)) + 2


def fitting(sheet: Sheet, width: int) -> list[int]:
    """Indices of the columns that fit `width` characters: the least important are left out first."""
    keep = list(range(len(sheet.heads)))
    while sum(_needs(sheet, i) for i in keep) + 2 > width:  # 2: the box's edges
        droppable = [i for i in keep if sheet.heads[i].drop]
        if not droppable:
            break
        keep.remove(max(droppable, key=lambda i: (sheet.heads[i].drop, i)))
    return keep


def left_out(sheet: Sheet, width: int) -> str:
    """A line with the columns that `terminal` leaves out at this `width`; "" where it has them all."""
    keep = set(fitting(sheet, width))
    gone = [head.title for i, head in enumerate(sheet.heads) if i not in keep]
    if not gone:
        return ""
    return f"left out at {width} columns: {', '.join(gone)} (table.md, report.html or a wider terminal has them)"


def terminal(sheet: Sheet, width: int) -> Table:
    """The sheet as a rich table that fits `width`; columns that do not fit are left to the other forms."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    keep = fitting(sheet, width)
    title = Text(sheet.title, style="bold")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for i in keep:
        head = sheet.heads[i]
        table.add_column(
            Text(head.short or head.title),
            justify="right" if head.number else "left",
            no_wrap=not head.width,
            overflow="fold" if head.width else "ellipsis",
            width=_needs(sheet, i) - 2,
        )
    for i, row in enumerate(sheet.rows):
        last = i + 1 == len(sheet.rows)
        table.add_row(
            *(Text(printable(row[j].short or row[j].text)) for j in keep),
            style="dim" if sheet.mark(i) in ("truth", "base") else None,
            end_section=not last and sheet.mark(i) != sheet.mark(i + 1),
        )
    return table
