"""bench.report.table: what stands in the columns, and the CSV."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from bench.report import table
from bench.report.sheet import Sheet
from bench.study.frame import tidy
from bench.study.leaderboard import boards, leaderboard, seed_spread
from bench.study.tuning import choose


@pytest.fixture(scope="module")
def frame(stored):
    return tidy(stored).frame


@pytest.fixture(scope="module")
def found(frame):
    return boards(frame)


def cell(sheet: Sheet, row: str, title: str) -> str:
    at = next(i for i, h in enumerate(sheet.heads) if h.title == title)
    names = next(i for i, h in enumerate(sheet.heads) if h.title == "method")
    return next(r[at].text for r in sheet.rows if r[names].text == row)


def test_main_columns(found):
    sheet = table.main_sheet(found[-1])
    assert [h.title for h in sheet.heads] == [
        "rank", "ties", "method", "lr", "headline [95 %]", "concept", "follow", "drift ↓", "diversity", "trainable",
        "time ÷ lora", "n", "flags",
    ]  # fmt: skip
    assert cell(sheet, "lora", "time ÷ lora") == "1.00×"
    assert cell(sheet, "lora", "n") == "7×3"
    assert cell(sheet, "lora", "lr") == "2e-3"
    assert cell(sheet, "lora", "trainable") == "73,728 (0.45 %)"
    assert cell(sheet, "lora", "flags") == ""
    assert "1 seed" in cell(sheet, "adapter", "flags")
    assert "diverged 1/7" in cell(sheet, "difffit", "flags")
    assert cell(sheet, "truth (VAE)", "headline [95 %]") == "1.00"
    assert cell(sheet, "frozen base", "rank") == "–"
    assert sheet.marks[0] == "truth"
    assert sheet.marks[-1] == "base"
    assert "open" in sheet.marks  # lora + prior met two of seven tasks


def test_the_raw_score_is_named_by_its_kind(found):
    titles = [[h.title for h in table.more_sheet(b).heads] for b in found]
    assert ["identity" in titles[0], "style" in titles[1], "identity or style" in titles[2]] == [True] * 3
    assert "content leak ↓" not in titles[0]
    assert "content leak ↓" in titles[1]


def test_columns_without_any_value_are_left_out(stored):
    bare = [r.model_copy(update={"cost": type(r.cost)()}) for r in stored]
    titles = [h.title for h in table.main_sheet(leaderboard(tidy(bare).frame)).heads]
    assert "trainable" not in titles
    assert "time ÷ lora" not in titles
    assert "headline [95 %]" in titles


def test_csv_has_every_number(found):
    text = table.to_csv(found)
    back = pd.read_csv(io.StringIO(text))
    assert len(back) == sum(len(b.lines) for b in found)
    for board in found:
        part = back[back["tasks_of"] == board.kind].set_index("row")
        for line in board.lines:
            for score in ("headline", "concept_norm", "drift", "kid"):
                assert part.loc[line.row, score] == pytest.approx(line.get(score).value, rel=1e-5, nan_ok=True)
                assert part.loc[line.row, f"{score}_low"] == pytest.approx(line.get(score).low, rel=1e-4, nan_ok=True)
            assert part.loc[line.row, "flags"] == "; ".join(line.flags) or not line.flags
    assert back.loc[back["row"] == "lora", "bytes_disk"].notna().all()


def test_pairs(found):
    sheet = table.pair_sheet(found[-1])
    assert len(sheet.rows) == 15
    assert sheet.rows[0][0].text == "adapter − lora[rank=16]"


def test_seed_spread_is_pooled(frame):
    sheet = table.spread_sheet(seed_spread(frame, "lora"), "lora")
    assert len(sheet.rows) == 8
    stds = [r[2].sort or 0.0 for r in sheet.rows]
    assert stds[-1] == pytest.approx((sum(s**2 for s in stds[:-1]) / 7) ** 0.5)
    assert sheet.rows[-1][0].text == "pooled (7 tasks)"


def test_tuning(frame):
    sheet = table.tuning_sheet(choose(frame))
    row = next(r for r in sheet.rows if r[0].text == "difffit")
    assert row[1].text == "3e-3"
    assert "(1 failed)" in row[3].text
    assert "one rate tried" in row[4].text
    assert any("rule:" in n for n in sheet.notes)


def test_every_table_of_the_terminal_fits_80_columns_or_names_what_it_leaves_out(stored, lay):
    from rich.console import Console

    from bench.report import sheet, terminal
    from bench.report.material import gather

    out = io.StringIO()
    terminal(lay(stored), Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(line for line in lines if "─" not in line), "a head or a number that is cut short"
    found = gather(lay(stored))
    for part in [*(table.main_sheet(b) for b in found.boards), *found.sheets]:
        said = sheet.left_out(part, 80)
        kept = sheet.fitting(part, 80)
        names = said.partition(": ")[2].partition(" (table.md")[0].split(", ")
        assert [name for name in names if name] == [h.title for i, h in enumerate(part.heads) if i not in kept]
