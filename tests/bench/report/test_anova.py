from __future__ import annotations

import json

import pytest

from bench.core.errors import LitmusError
from bench.study.anova_paper import SIMILARITY

SHORT = tuple(p for p in SIMILARITY if p[0] in ("attn1i", "attn2o", "ffni"))


def planted(cell):
    return 0.5 + 0.2 * (cell.source == "attn2o") + 0.05 * (cell.activation == "relu")


@pytest.fixture(scope="module")
def board(simulated, tmp_path_factory):
    """The folder of a simulated study with a probe beside it."""
    from bench.records.record import write

    folder = tmp_path_factory.mktemp("study") / "anova"
    records, design = simulated(planted, pairs=SHORT)
    for record in records:
        write(record, folder / "runs")
    (folder / "design.json").write_text(json.dumps(design))
    tuned = {str(i): {"source": s, "target": t, "move": 0.1 + 0.1 * (s == "attn2o")} for i, (s, t) in enumerate(SHORT)}
    probe = {"task": "pocket/subject-a", "seed": 0, "pictures": 16, "untuned": 0.05, "tuned": tuned}
    (folder / "probe.json").write_text(json.dumps(probe | {"frozen": {"attn1i": 0.0, "attn2o": 0.2, "ffni": 0.1}}))
    return folder


@pytest.fixture(scope="module")
def written(board):
    from bench.report.anova import write

    return write(board)


def test_page_figures_and_winner(board, written):
    names = {path.relative_to(board).as_posix() for path in written}
    assert {"ANOVA.md", "winner.json", "figures/anova-heat.png", "figures/anova-probe.svg"} <= names
    assert all(path.stat().st_size > 100 for path in written)
    text = (board / "ANOVA.md").read_text()
    assert "Yes: the input position takes the largest share" in text
    assert "the whole grid has 640" in text
    for name in names:
        if name.endswith(".png"):
            assert name in text
    hyper = json.loads((board / "winner.json").read_text())["hyper"]
    assert (hyper["source"], hyper["activation"], hyper["width"]) == ("attn2o", "relu", 32)


def test_the_page_says_where_the_published_pair_stands(board, written):
    text = (board / "ANOVA.md").read_text()
    assert "The published pair attn2o → ffni" in text
    assert "Spearman's ρ" in text
    assert "ρ = " in text.split("Measured here on 16 noised pictures")[1]


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(board, written):
    from bench.report.anova import write

    before = {path: path.read_bytes() for path in written if path.suffix != ".svg"}
    again = write(board)
    assert {path: path.read_bytes() for path in again if path.suffix != ".svg"} == before


def test_the_heat_map_holds_every_pair(simulated):
    from bench.report.anova_figure import heat
    from bench.study.anova_answer import answer
    from bench.study.anova_frame import grid

    records, design = simulated(
        planted, n=1, tasks=("pocket/subject-a",), seeds=(0,), activations=("relu",), scales=(1.0,)
    )
    found = answer(grid(records, design))
    assert found is not None
    fig = heat([found])
    texts = [t.get_text() for t in fig.axes[0].texts]
    assert len(texts) == 20
    assert f"{max(found.heat.values()):.3f}" in texts
    assert sum(t.get_text().startswith("≥") for t in fig.axes[1].texts) == 2


def test_it_says_what_it_does_before_it_does_it(board, monkeypatch):
    from bench.report.anova import write

    monkeypatch.setattr("bench.core.style.render", lambda fig, ending: b"")
    told = []
    write(board, lambda doing, done, of: told.append((doing, done, of)))
    assert told[0] == ("reading the records", 0, 1)
    doing = list(dict.fromkeys(line for line, _, _ in told))
    assert len(doing) == 6
    for line in doing[2:]:
        parts = [(done, of) for said, done, of in told if said == line]
        assert [done for done, _ in parts] == list(range(parts[0][1])), line


def test_nothing_to_report(tmp_path):
    from bench.report.anova import published, write

    with pytest.raises(LitmusError, match="holds no study"):
        write(tmp_path)
    with pytest.raises(LitmusError, match="no winner.json"):
        published(tmp_path)
