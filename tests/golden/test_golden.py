"""Tables rendered from stored records are, letter for letter, the ones that were reviewed; `make golden` rewrites them.

records_v1.jsonl is also the proof that records of schema 1 stay readable; make_records.py says how it was made.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> dict[str, str]:
    """File name -> text, by the way of real record files."""
    import io

    from rich.console import Console

    from bench import report
    from bench.report.material import gather
    from bench.report.table import to_csv

    folder = tmp_path_factory.mktemp("golden") / "quick"
    (folder / "runs").mkdir(parents=True)
    lines = (HERE / "records_v1.jsonl").read_text(encoding="utf-8").splitlines()
    for i, line in enumerate(lines):
        (folder / "runs" / f"{i:04}.json").write_text(line, encoding="utf-8")
    m = gather(folder)
    assert m.problems == []
    assert len(m.records) == len(lines) > 0
    out = io.StringIO()
    report.terminal(folder, Console(file=out, width=118, color_system=None))
    terminal = "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
    return {
        "table.md": report.markdown(m),
        "table.csv": to_csv(m.boards),
        "table.tex": report.latex(m),
        "terminal.txt": terminal,
    }


@pytest.mark.parametrize("name", ["table.md", "table.csv", "table.tex", "terminal.txt"])
def test_as_reviewed(rendered, name, request):
    path = HERE / name
    if request.config.getoption("--golden", default=False):
        path.write_text(rendered[name], encoding="utf-8")
    assert path.is_file(), f"{path.name} is missing: make golden writes it"
    assert rendered[name].splitlines() == path.read_text(encoding="utf-8").splitlines()
