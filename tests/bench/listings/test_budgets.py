"""`litmus budgets`: what is reached, what is nearest, and that the page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.listings import budgets as reached
from bench.listings.params import NEAR
from bench.method import METHODS, LitmusError, load_plugins

PAGE = Path(__file__).parents[3] / "docs" / "budgets.md"
SMALL = "pocket"


@pytest.fixture(scope="module")
def found():
    return reached.cells(base=SMALL, shares=(0.0005, 0.03))


def test_no_method_with_a_size_fails(found):
    load_plugins()
    sized = {name for name, cls in METHODS.items() if cls.size_field}
    assert {cell.method for cell in found} >= sized
    assert [cell for cell in found if cell.scalars is None and not cell.why] == []


def test_what_is_not_reached_says_why(found):
    assert all(bool(cell.why) == (cell.off is None or abs(cell.off) > NEAR) for cell in found)
    for cell in found:
        if other := re.search(r"\), \S+ [\d.,]+ ([\d,]+) \(", cell.why):
            wanted = (cell.scalars or 0) / (1 + (cell.off or 0))
            there = int(other[1].replace(",", ""))
            assert (there - wanted) * ((cell.scalars or 0) - wanted) < 0, cell
            assert abs(there - wanted) >= abs((cell.scalars or 0) - wanted), cell


def test_the_next_step_or_the_end_is_named():
    lora, svfit = reached.cells(["lora", "svfit"], "sd15", (0.0005,))
    assert lora.why == "rank 2 gives 398,592 (-7.25 %), rank 3 597,888 (+39.1 %)"
    assert svfit.why.endswith("gives 93,696, the most there is")
    assert lora.text(859_520_964) == "*2 · 0.0464 %*"


def test_a_count_that_falls_back_is_caught_at_its_height():
    """LoKr trains its second matrix whole from half of its side on, which may be less than before."""
    (cell,) = reached.cells(["lokr"], "sd15", (0.0075,))
    assert (cell.size, cell.scalars) == (159, 6_063_104)


def test_a_refusal_is_a_dash():
    (cell,) = reached.cells(["blora"], "sd35-medium", (0.002,))
    assert (cell.text(1), cell.scalars) == ("–", None)
    assert "it is a method for U-Nets" in cell.why


def test_the_page_keeps_what_follows_it(tmp_path):
    path, cells = tmp_path / "budgets.md", reached.cells(["lora"], SMALL)
    reached.write(path, cells, SMALL)
    first = path.read_text()
    assert first.endswith(reached.END + "\n")
    path.write_text(first.replace("lora", "lroa") + "by hand\n")
    reached.write(path, cells, SMALL)
    assert path.read_text() == first + "by hand\n"


def test_the_page_in_docs_has_every_method_with_a_size():
    load_plugins()
    text = PAGE.read_text(encoding="utf-8").partition(reached.END)[0]
    listed = set(re.findall(r"^\| (\w+) \|", text, re.MULTILINE)) - {"method"}
    assert listed == {n for n, c in METHODS.items() if c.size_field and c.__module__.startswith("methods.")}


@pytest.mark.slow
def test_the_page_in_docs_is_up_to_date():
    """After a change in methods/: litmus budgets --write docs/budgets.md"""
    assert (
        PAGE.read_text(encoding="utf-8").partition(reached.END)[0]
        == (reached.page(reached.cells()).partition(reached.END)[0])
    )


def test_command():
    from bench.__main__ import app

    shown = CliRunner().invoke(app, ["budgets", "--methods", "lora,bias", "--base", SMALL, "--share", "3%"])
    assert shown.exit_code == 0, shown.output
    assert "| lora | rank |" in shown.output
    assert "bias" not in shown.output
    wrong = CliRunner().invoke(app, ["budgets", "--base", "pocekt"])
    assert isinstance(wrong.exception, LitmusError)
    assert "pocket" in str(wrong.exception)
