"""bench.report.sheet: what is text stays text in every form, and a terminal's width is kept."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.report.sheet import (
    Cell,
    Head,
    Sheet,
    fitting,
    latex,
    latex_text,
    left_out,
    markdown,
    markdown_text,
    printable,
    terminal,
)

EVIL = "a|b*c`d<e>[x](http://y)\n\x1b[31mred\\"


def sheet(text: str = "lora", **head) -> Sheet:
    heads = [Head("method", number=False), Head("score", drop=1), Head("flags", number=False, **head)]
    return Sheet("Title", heads, [[Cell(text), Cell("0.5", 0.5), Cell("one, two, three, four")]], ["base"], ["a note"])


def test_control_characters_are_gone():
    assert printable(EVIL) == "a|b*c`d<e>[x](http://y) ?[31mred\\"


def test_markdown_is_literal():
    assert markdown_text(EVIL) == "a\\|b\\*c\\`d\\<e\\>[x]\\(http://y) ?[31mred\\\\"
    lines = markdown(sheet(EVIL)).splitlines()
    assert lines[0] == "## Title"
    assert lines[3] == "| --- | ---: | --- |"
    assert lines[4].replace("\\|", "").count("|") == 4
    assert lines[-1] == "- a note"


@pytest.mark.parametrize("character", list("\\{}$&#%_^~<>|[]"))
def test_latex_has_no_bare_special(character):
    text = latex_text(character)
    assert text != character
    assert text in ("{[}", "{]}") or text.startswith("\\")


def test_latex_table():
    text = latex(sheet("100 % & more"))
    assert r"\begin{tabular}{lrl}" in text
    assert r"100 \% \& more & 0.5 & one, two, three, four \\" in text
    for word in ("toprule", "midrule", "bottomrule"):
        assert f"\\{word}" in text
    assert text.count("{") == text.count("}")


def shown(part: Sheet, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(terminal(part, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [24, 30, 38, 50, 100])
def test_terminal_keeps_its_width(width):
    assert all(len(line) <= width for line in shown(sheet(width=9), width))


def test_the_least_important_column_goes_first():
    part = sheet()
    assert fitting(part, 200) == [0, 1, 2]
    assert fitting(part, 36) == [0, 2]
    assert fitting(part, 5) == [0, 2]  # these two may not go


def test_terminal_folds_flags_and_drops_nothing_of_them():
    text = " ".join(shown(sheet(width=9), 40))
    for word in ("one,", "two,", "three,", "four"):
        assert word in text


def test_terminal_takes_markup_as_text():
    assert any("[bold]x[/bold]" in line for line in shown(sheet("[bold]x[/bold]"), 80))


def test_columns_that_a_terminal_leaves_out_are_named():
    assert left_out(sheet(), 200) == ""
    assert left_out(sheet(), 30) == "left out at 30 columns: score (table.md, report.html or a wider terminal has them)"
