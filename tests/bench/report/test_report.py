"""bench.report: a board's folder -> its files, whole, again and again, without torch."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from bench import report
from bench.core.errors import LitmusError
from bench.protocol.models import load_protocol, make_protocol
from bench.records.about import About, about, remember

NAMES = ["table.md", "table.csv", "table.tex", "report.html", "figures/headline.png", "figures/front.svg",
         "figures/grid-subject-robot-a.png"]  # fmt: skip


@pytest.mark.slow
def test_writes_everything_and_the_same_again(few, lay):
    folder = lay(few)
    written = report.write(folder)
    assert written.problems == []
    for name in NAMES:
        assert folder / name in written.paths
        assert (folder / name).stat().st_size > 500
    assert not [p for p in folder.rglob("*") if p.name.endswith(".part")]
    before = {p: p.read_bytes() for p in written.paths}
    assert {p: p.read_bytes() for p in report.write(folder).paths} == before
    for text in (folder / "table.md", folder / "table.tex", folder / "report.html"):
        assert str(folder.parent) not in text.read_text(encoding="utf-8")


def test_a_bad_record_is_one_line(few, lay, monkeypatch):
    monkeypatch.setattr("bench.report.material.drawings", lambda m, theme: [])
    folder = lay(few, pictures=False)
    (folder / "runs" / "0123456789abcdef.json").write_text("{half a rec")
    (folder / "figures").mkdir()
    (folder / "figures" / "tuning.png").write_bytes(b"of an earlier sweep")
    (folder / "figures" / "mine.png").write_bytes(b"the user's own")
    written = report.write(folder)
    assert len(written.problems) == 1
    assert "0123456789abcdef.json" in written.problems[0]
    assert "0123456789abcdef.json" in (folder / "report.html").read_text(encoding="utf-8")
    assert [p.name for p in (folder / "figures").iterdir()] == ["mine.png"]


def test_a_report_is_kept_while_it_says_what_the_records_say(few, lay, monkeypatch):
    monkeypatch.setattr("bench.report.material.drawings", lambda m, theme: [])
    folder = lay(few, pictures=False)
    assert report.kept(folder) is None
    written = report.write(folder)
    assert report.kept(folder) == written
    table = (folder / "table.md").rename(folder / "elsewhere")
    assert report.kept(folder) is None  # a file is gone
    table.rename(folder / "table.md")
    assert report.kept(folder) == written
    one = next((folder / "runs").glob("*.json"))
    before = one.read_bytes()
    one.write_bytes(before + b" ")
    assert report.kept(folder) is None  # a record changed
    one.write_bytes(before)
    assert report.kept(folder) == written
    (folder / report.STAMP).write_text("[]")
    assert report.kept(folder) is None


def test_the_title_of_the_protocol_stands_in_every_heading(few, lay, monkeypatch):
    monkeypatch.setattr("bench.report.material.drawings", lambda m, theme: [])
    for name, title in (("quick", load_protocol("quick").title), ("mine", "dogs & cats"), ("nameless", "")):
        folder = lay(few, name, pictures=False)
        if name == "mine":
            rules = make_protocol({"name": name, "title": title, "tasks": ["a/b"]})
            assert remember(folder, rules) is remember(folder, rules)
            assert about(folder) == About(title)
        report.write(folder)
        out = io.StringIO()
        report.terminal(folder, Console(file=out, width=120, color_system=None))
        heading = f"{name}: {title}" if title else name
        assert out.getvalue().splitlines()[0].rstrip() == heading
        assert (folder / "table.md").read_text(encoding="utf-8").splitlines()[0] == f"# {heading}"
        html = (folder / "report.html").read_text(encoding="utf-8")
        shown = heading.replace("&", "&amp;")
        assert f"<title>{shown} · Litmus</title>" in html
        assert (f'<p class="title">{shown.partition(": ")[2]}</p>' in html) == bool(title)
    assert report.kept(folder)
    remember(folder, make_protocol({"name": name, "title": "another", "tasks": ["a/b"]}))
    assert report.kept(folder) is None


def test_an_empty_board_is_one_clear_line(tmp_path):
    with pytest.raises(LitmusError, match=r"no records in .*runs: run litmus bench first"):
        report.write(tmp_path / "nothing")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text("[]")
    with pytest.raises(LitmusError, match="1 files that are no records"):
        report.write(tmp_path)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_terminal_fits(few, lay, width):
    out = io.StringIO()
    assert report.terminal(lay(few, pictures=False), Console(file=out, width=width, color_system=None)) == []
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for word in ("Subjects (1 task)", "Styles (1 task)", "All tasks (2 tasks)", "frozen base", "Seed spread of lora"):
        assert word in text
    assert "note: 1 of" in text


def test_a_sweep_shows_the_chosen_rates(stored, lay, monkeypatch):
    from bench.report.material import OPTIMISTIC, gather
    from bench.runner.plan import key

    base = [r for r in stored if r.run.task == "pocket/subject-robot-a" and r.run.method in ("base", "truth")]
    own = next(r for r in stored if r.run.task == "pocket/subject-robot-a" and r.run.spec == "lora")
    trials = []
    for lr, scale in ((1e-4, 0.5), (1e-3, 0.9), (1e-2, 0.7)):
        run = own.run.model_copy(update={"lr": lr})
        trials.append(own.model_copy(update={"run": run, "key": key(run), "scores": own.scores | {"concept": scale}}))
    m = gather(lay([*base, *trials], pictures=False))
    assert [x.row for x in m.whole.lines] == ["truth", "lora", "base"]
    assert m.whole.lines[1].lr == 1e-3
    assert OPTIMISTIC in m.warnings
    assert "chosen lr" in report.markdown(m)
    from bench.report.material import drawings

    assert "tuning" in [d.name for d in drawings(m)]


SCRIPT = """
import sys
from pathlib import Path
from bench import report
report.write(Path(sys.argv[1]))
print(sorted(m for m in sys.modules if m.split(".")[0] in ("torch", "diffusers", "peft", "transformers")))
"""


def test_needs_no_torch(stored, lay):
    folder = lay(
        [r for r in stored if r.run.task.endswith("cat-b") and r.run.spec in ("base", "truth", "lora", "bias")]
    )
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
