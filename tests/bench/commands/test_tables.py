"""Tables in a terminal: what does not fit is left out and named, and what is shown is whole."""

from __future__ import annotations

import io
import random

import pytest
import rich.console

from bench.commands.shared import PROSE, fitting, print_table


@pytest.fixture
def terminal(monkeypatch):
    """A function: terminal(width, header, rows) -> what print_table prints in a terminal of that width."""
    console = rich.console.Console

    def make(width: int, header: list[str], rows: list[list[str]]) -> str:
        out = io.StringIO()

        def opened() -> rich.console.Console:
            return console(file=out, force_terminal=True, width=width, color_system=None)

        monkeypatch.setattr(rich.console, "Console", opened)
        print_table(header, rows)
        return out.getvalue()

    return make


def test_columns_that_do_not_fit_are_named(terminal):
    header = ["method", "learning rate", "mergeable", "packable", "paper", "what it does"]
    rows = [["scaled_parallel_adapter", "0.003", "yes", "no", "arXiv:2303.10512, section 4", "adds a product " * 5]]
    wide = terminal(200, header, rows)
    assert "left out" not in wide
    narrow = terminal(80, header, rows)
    assert "left out at 80 columns: paper (a wider terminal has them, or a pipe: | less -S)" in " ".join(narrow.split())
    assert narrow.count("adds a") == 5
    assert all(len(line) <= 80 for line in narrow.splitlines())


def test_whatever_is_shown_is_whole(terminal):
    draw = random.Random(0)
    for _ in range(200):
        width, n = draw.choice([80, 100, 137]), draw.randint(2, 9)
        header = ["h" * draw.randint(1, 12) for _ in range(n)]
        rows = [
            [
                " ".join("w" * draw.randint(1, 10) for _ in range(draw.randint(0, draw.choice([1, 2, 12]))))
                for _ in header
            ]
            for _ in range(4)
        ]
        text = terminal(width, header, rows)
        shown = fitting(header, rows, width)
        assert text.count("w") - text.count("wider") == sum(row[i].count("w") for row in rows for i in shown)
        assert all(len(line) <= width for line in text.splitlines())
        assert ("left out" in text) == (len(shown) < n)
        assert all(shown[i] >= min(PROSE, max(len(row[i]) for row in rows)) for i in shown)
