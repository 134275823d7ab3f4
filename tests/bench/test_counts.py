"""How many methods there are: one number, from the registry, wherever it is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.listings import methods as listed

ROOT = Path(__file__).resolve().parents[2]
HISTORY = "log.md"  # says what was so at its time
# A number before the word, which is the number of all: boards and tables of a part of them say fewer.
SAID = re.compile(r"\b(\d+) (?:more )?(?:\]\(docs/)?methods\b")
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != HISTORY)]
HELP = sorted((ROOT / "bench").rglob("*.py"))


def count() -> int:
    return sum(cls.trains for cls in listed.builtin().values())


def test_it_is_counted_in_one_way():
    builtin = listed.builtin()
    assert listed.counted(builtin) == f"{count()} methods, and base, which trains nothing"
    assert len(builtin) == count() + 1
    del builtin["base"]
    assert listed.counted(builtin) == f"{count()} methods"


@pytest.mark.parametrize("pages", [PAGES, HELP], ids=["docs", "code"])
def test_every_stated_number_of_methods_is_that_of_the_registry(pages):
    said = {(page.name, int(n)) for page in pages for n in SAID.findall(page.read_text(encoding="utf-8"))}
    large = {(page, n) for page, n in said if n > 40}
    assert {n for _, n in large} <= {count()}, large
    if pages is PAGES:
        assert {page for page, _ in large} >= {"README.md", "methods.md", "costs.md"}


def test_there_is_no_other_way_to_say_it():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not re.search(r"\d+ more\]", text)
    assert f"[{count()} methods](docs/methods.md)" in text


def test_what_one_may_import_from_the_top():
    """The examination of each kind of part, as the pages about them say."""
    import bench

    kinds = ("base", "extractors", "method", "metric", "objective", "task")
    for kind in kinds:
        assert callable(getattr(bench, f"check_{kind}"))
        assert f"check_{kind}" in bench.__all__
        assert (ROOT / "bench" / "commands" / f"check_{kind}.py").is_file()
    assert {path.stem for path in (ROOT / "bench" / "commands").glob("check_*.py")} == {f"check_{k}" for k in kinds}
    assert sorted(bench.__all__) == list(bench.__all__)
    assert all(hasattr(bench, name) for name in bench.__all__)
