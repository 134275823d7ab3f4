"""bench.plot, the tables of bench.report.results and `litmus plot`: what people who plot use."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.core.errors import LitmusError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ROWS = {"full", "lora", "lora[rank=16]", "bias", "difffit", "adapter", "lora + prior"}
FIGURES = ("headline", "front", "tradeoff", "curves")


@pytest.fixture(scope="module")
def records():
    return bench.load_records(GOLDEN / "records_v1.jsonl")


@pytest.fixture
def home(litmus_home, records):
    """$LITMUS_HOME with a board `quick` of two tasks and their pictures."""
    from PIL import Image

    from bench.records.record import write

    runs = litmus_home / "results" / "quick" / "runs"
    for i, r in enumerate(records):
        if r.run.task not in ("pocket/subject-robot-a", "pocket/style-knit-a"):
            continue
        write(r, runs)
        if r.files:
            pixels = np.random.default_rng(i).integers(0, 256, (16, 48, 3), np.uint8)
            Image.fromarray(pixels).save(runs / r.files["grid"])
            (runs / r.files["prompts"]).write_text(json.dumps({"prompts": ["one", "two", "three"]}))
    return litmus_home


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("agg")
    yield
    plt.close("all")


# --- records -------------------------------------------------------------------------------------------------------


def test_a_board_by_its_name_its_folder_and_its_lines(home, records):
    board = home / "results" / "quick"
    named = bench.load_records("quick")
    assert named == bench.load_records(board) == bench.load_records(str(board))
    assert {r.key for r in named} <= {r.key for r in records}
    assert all(isinstance(r, bench.Record) for r in records)
    assert len(records) == 93


def test_files_that_are_no_records_are_told_once(home):
    (home / "results" / "quick" / "runs" / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match=r"1 records cannot be read.*\n.*broken\.json") as told:
        found = bench.load_records("quick")
    assert len(told) == 1
    assert told[0].filename == __file__
    assert found


def test_lines_that_are_no_records_are_told_with_their_number(tmp_path):
    lines = (GOLDEN / "records_v1.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "some.jsonl").write_text("\n".join([*lines[:3], "{", ""]), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"some\.jsonl, line 4, is not a record"):
        assert len(bench.load_records(tmp_path / "some.jsonl")) == 3


def test_an_unknown_board_has_its_nearest_name(home):
    with pytest.raises(LitmusError, match=r"unknown board 'quikc': did you mean 'quick'\?"):
        bench.load_records("quikc")


def test_an_empty_board(litmus_home):
    (litmus_home / "results" / "none" / "runs").mkdir(parents=True)
    with pytest.raises(LitmusError, match="no records in none"):
        bench.load_records("none")


# --- tables --------------------------------------------------------------------------------------------------------


def test_tidy_is_the_study_s_own_table(records):
    from bench.study import frame

    found, own = bench.tidy(records), frame.tidy(records)
    assert len(found) == 93
    assert found.attrs["warnings"] == own.warnings != []
    for name, public in (("headline", "headline"), ("concept_norm", "concept"), ("concept", "concept_raw")):
        np.testing.assert_array_equal(found[public], own.frame[name])


def test_every_column_is_documented(records):
    for function in (bench.tidy, bench.leaderboard):
        told = function.__doc__ or ""
        scores = {n for r in records for n in r.scores} | {"image_similarity"}
        for column in function(records).columns:
            stem = column.removesuffix("_low").removesuffix("_high")
            patterns = [w for w in told.replace(",", " ").replace(":", " ").split() if "*" in w]
            by_pattern = any(
                column.startswith(w.split("*")[0]) and column.endswith(w.rstrip(".").split("*")[1]) for w in patterns
            )
            assert stem in told or stem in scores or by_pattern, column


def test_the_leaderboard_is_the_table_s_numbers(records):
    from bench.report.material import of

    table = bench.leaderboard(records)
    lines = of("x", Path(), records).whole.lines
    assert table.row.tolist() == [x.row for x in lines]
    assert set(table.row[table.trained]) == ROWS
    for line, (_, own) in zip(lines, table.iterrows(), strict=True):
        seen = line.get("headline")
        np.testing.assert_array_equal(
            [own.headline, own.headline_low, own.headline_high, own.concept, own.follow],
            [seen.value, seen.low, seen.high, line.get("concept_norm").value, line.get("follow_norm").value],
        )
        assert (own.n_tasks, own.n_seeds, own.n_runs, own.n_failed) == (
            line.tasks,
            line.seeds[0],
            line.runs,
            line.failed,
        )
        if line.rank:
            assert (own.rank_low, own.rank_high) == line.rank
            assert own.scalars_trainable == line.costs["scalars_trainable"]
    row = table.set_index("row")
    assert row.loc["lora + prior"].isna().rank_low
    assert row.loc["lora[rank=16]", "spec"] == "lora[rank=16]"
    assert row.loc["lora", "lr"] == 2e-3
    assert row.loc["difffit", "n_failed"] == 1
    assert {"identity", "style", "text", "drift", "drift_low"} <= set(table.columns)


def test_the_leaderboard_of_one_kind_and_of_one_base(records):
    styles = bench.leaderboard(records, kind="style")
    assert styles.n_tasks.max() == 3
    assert bench.leaderboard(records, base="pocket").equals(bench.leaderboard(records))
    with pytest.raises(LitmusError, match="did you mean 'pocket'"):
        bench.leaderboard(records, base="poket")
    with pytest.raises(LitmusError, match="did you mean 'style'"):
        bench.leaderboard(records, kind="styles")  # type: ignore[arg-type]
    with pytest.raises(LitmusError, match="no tasks of the kind style"):
        bench.leaderboard([r for r in records if "style" not in r.run.task], kind="style")


def test_two_bases_are_never_mixed(records):
    other = [
        r.model_copy(update={"key": "b" + r.key, "run": r.run.model_copy(update={"base": "sd15"})}) for r in records
    ]
    assert set(bench.leaderboard([*records, *other], base="sd15").n_runs) == set(bench.leaderboard(records).n_runs)


def test_nothing_but_references(records):
    with pytest.raises(LitmusError, match="no run of a trained method"):
        bench.leaderboard([r for r in records if r.run.method == "truth"])
    with pytest.raises(LitmusError, match="no run of a trained method"):
        bench.leaderboard([])


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_into_a_new_figure_and_into_mine(records, name):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    draw = getattr(bench.plot, name)
    alone = draw(records)
    assert isinstance(alone, Axes)
    assert alone.figure.number in plt.get_fignums()  # type: ignore[union-attr]
    fig, axes = plt.subplots(1, 2, layout="constrained")
    assert draw(records, axes[1]) is axes[1]
    assert not axes[0].has_data()
    assert axes[1].has_data()
    fig.canvas.draw()


def test_it_draws_what_the_report_draws(records):
    """Panel by panel the same marks."""
    from bench.report.material import drawings, of

    m = of("x", Path(), records)
    report = {d.name: d.figure for d in drawings(m)}
    mine = {
        "headline": [bench.plot.headline(records)],
        "front": [bench.plot.front(records, kind="subject"), bench.plot.front(records, kind="style")],
        "tradeoff": [bench.plot.tradeoff(records), bench.plot.tradeoff(records, x="drift", y="headline")],
        "curves": [bench.plot.curves(records), bench.plot.curves(records, split="heldout")],
    }
    for name, axes in mine.items():
        for ax, other in zip(axes, report[name].axes, strict=True):
            assert len(ax.lines) == len(other.lines) > 5
            for a, b in zip(ax.lines, other.lines, strict=True):
                if a.get_zorder() > 1.95:  # the thin lines to labels are placed when drawn
                    np.testing.assert_allclose(
                        np.array(a.get_xydata(), float)[:1], np.array(b.get_xydata(), float)[:1], rtol=1e-6
                    )


def names(ax) -> set[str]:
    return {t.get_text() for t in ax.texts} & ROWS


def test_rows_are_a_choice_and_an_order_but_no_other_numbers(records):
    ax = bench.plot.headline(records, rows=["lora", "adapter"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["lora", "adapter"]
    table = bench.leaderboard(records).set_index("row")
    ranks = [t.get_text() for t in ax.texts if t.get_text()[0].isdigit()]
    low, high = table.loc["lora", ["rank_low", "rank_high"]]
    assert ranks[0] == (f"{low}–{high}" if low != high else f"{low}")
    assert names(bench.plot.front(records, rows=["bias", "full"])) == {"bias", "full"}


def test_highlighted_rows_alone_have_names(records):
    assert names(bench.plot.tradeoff(records, highlight=["bias"])) == {"bias"}
    assert "bias" in names(bench.plot.front(records, highlight=["bias"]))  # and those of the front
    assert names(bench.plot.curves(records, highlight=["full", "bias"])) == {"full", "bias"}


def test_a_front_over_any_cost(records):
    table = bench.leaderboard(records).set_index("row")
    for cost in ("scalars_trainable", "bytes_disk", "bytes_peak", "flops_step", "seconds_step", "step_ratio"):
        ax = bench.plot.front(records, cost=cost)
        at = [table.loc["adapter", cost], table.loc["adapter", "headline"]]
        spots = [np.asarray(x.get_xydata(), float) for x in ax.lines]
        assert any(len(spot) == 1 and np.allclose(spot[0], at) for spot in spots), cost


def test_an_asked_row_that_cannot_stand_beside_the_others_is_told(records):
    with pytest.warns(UserWarning, match=r"lora \+ prior ran on 2 of 7 tasks") as told:
        ax = bench.plot.front(records, rows=["lora", "lora + prior"])
    assert told[0].filename == __file__
    assert names(ax) == {"lora"}


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda r: bench.plot.front(r, rows=["lroa"]), "unknown row 'lroa': did you mean 'lora'"),
        (lambda r: bench.plot.front(r, highlight=["adaptor"]), "did you mean 'adapter'"),
        (lambda r: bench.plot.front(r, rows="lora"), r"rows is a list of names: rows=\['lora'\]"),
        (lambda r: bench.plot.front(r, cost="byte_disk"), "unknown cost 'byte_disk': did you mean 'bytes_disk'"),
        (lambda r: bench.plot.tradeoff(r, x="dirft"), "unknown score 'dirft': did you mean 'drift'"),
        (lambda r: bench.plot.curves(r, split="held-out"), "did you mean 'heldout'"),  # type: ignore
        (lambda r: bench.plot.headline(r, style="drak"), "unknown style 'drak': did you mean 'dark'"),  # type: ignore
        (lambda r: bench.plot.headline(r, kind="styl"), "did you mean 'style'"),  # type: ignore
        (lambda r: bench.plot.headline([x for x in r if x.run.method != "truth"]), "no headline to draw"),
        (lambda r: bench.plot.headline(["lora"]), "records are what bench.load_records gives"),  # type: ignore
        (lambda r: bench.plot.grid(r), "do not know where their pictures lie"),
    ],
)
def test_mistakes_are_one_line(records, call, line):
    import matplotlib.pyplot as plt

    with pytest.raises(LitmusError, match=line) as told:
        call(records)
    assert "\n" not in str(told.value)
    assert not plt.get_fignums()  # and leave no empty figure


def test_dark_is_light_ink_on_transparent_ground(records):
    import io

    from PIL import Image

    ax = bench.plot.front(records, style="dark")
    out = io.BytesIO()
    ax.figure.savefig(out)  # type: ignore[union-attr]  # long after the style was left
    pixels = np.asarray(Image.open(out).convert("RGBA"), float)
    assert (pixels[..., 3] == 0).mean() > 0.7
    inked = pixels[pixels[..., 3] > 250][:, :3]
    assert (inked.mean(1) > 200).sum() > 80
    assert np.quantile(inked.mean(1), 0.2) > 25


def test_what_is_drawn_later_keeps_the_style(records):
    """Ticks are made when a figure is drawn: not in the size or colour that is set then."""
    import matplotlib

    ax = bench.plot.tradeoff(records, style="dark")
    with matplotlib.rc_context({"xtick.labelsize": 20, "xtick.color": "red", "text.parse_math": True}):
        ax.figure.canvas.draw()
        for label in ax.get_xticklabels():
            assert label.get_fontsize() == 8.5
            assert label.get_color() != "red"
    assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]


def test_the_font_of_my_own_axes_is_mine(records):
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context({"font.family": "serif"}):
        ax = bench.plot.front(records, plt.figure().add_subplot())
        assert {t.get_fontfamily()[0] for t in ax.texts} == {"serif"}
    assert {t.get_fontfamily()[0] for t in bench.plot.front(records).texts} == {"DejaVu Sans"}


def test_the_study_is_made_once(records, monkeypatch):
    from bench.report import material

    calls = []
    real = material.of
    monkeypatch.setattr(material, "of", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    part = [r for r in records if r.run.task.startswith("pocket/style")]
    for name in FIGURES:
        getattr(bench.plot, name)(part)
    bench.leaderboard(part)
    assert len(calls) == 1
    bench.leaderboard(part[:-1])
    assert len(calls) == 2


def test_a_grid_finds_its_pictures(home):
    found = bench.load_records("quick")
    ax = bench.plot.grid(found)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[:2] == ["truth (VAE)", "frozen base"]
    assert set(labels[2:]) == ROWS
    assert [t.get_text() for t in ax.get_xticklabels()] == ["one", "two", "three"]
    part = [r for r in found if r.run.seed == 0]
    ax = bench.plot.grid(part, board="quick", task="style-knit-a", rows=["bias", "lora"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["truth (VAE)", "frozen base", "bias", "lora"]
    with pytest.raises(LitmusError, match=r"unknown task of this board 'style-knot-a': did you mean 'style-knit-a'"):
        bench.plot.grid(found, task="style-knot-a")
    with pytest.raises(LitmusError, match="did you mean 'quick'"):
        bench.plot.grid(part, board="quik")
    for picture in (home / "results" / "quick" / "runs").glob("*.png"):
        picture.unlink()
    with pytest.raises(LitmusError, match="no sample pictures of pocket/subject-robot-a: their files are not in"):
        bench.plot.grid(found)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def litmus(home, tmp_path, monkeypatch, capsys):
    """litmus("plot", ...) -> (exit code, what it printed, what it said), in a folder of its own."""
    import sys

    from bench import __main__

    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["litmus", *map(str, words)])
        with warnings.catch_warnings():
            try:
                __main__.main()
                code = 0
            except SystemExit as done:
                code = done.code or 0
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    return call


STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("figure", ["headline", "front", "tradeoff", "tasks", "curves", "costs", "grid"])
def test_every_figure_is_a_file(litmus, figure, tmp_path):
    assert litmus("plot", "quick", figure) == (0, f"quick-{figure}.png", "")
    assert (tmp_path / f"quick-{figure}.png").read_bytes().startswith(STARTS["png"])


@pytest.mark.parametrize("form", STARTS)
def test_forms(litmus, form, tmp_path):
    path = tmp_path / "deep" / f"x.{form}"
    code, out, _ = litmus("plot", "quick", "front", "--out", path, "--rows", "lora,lora[rank=16]", "--kind", "style")
    assert (code, out) == (0, str(path))
    assert path.read_bytes().startswith(STARTS[form])


def test_it_is_the_report_s_own_picture(litmus, home, tmp_path):
    from bench import report

    report.write(home / "results" / "quick")
    for name in ("headline", "front", "curves"):
        litmus("plot", "quick", name)
        assert (tmp_path / f"quick-{name}.png").read_bytes() == (
            home / "results" / "quick" / "figures" / f"{name}.png"
        ).read_bytes()


def test_dots_and_ground(litmus, tmp_path):
    from PIL import Image

    litmus("plot", "quick", "costs", "--dpi", 100, "--dark")
    litmus("plot", "quick", "costs", "--dpi", 50, "--out", "small.png")
    with Image.open("quick-costs.png") as dark, Image.open("small.png") as light:
        assert math.isclose(dark.width, 2 * light.width, abs_tol=2)
        assert dark.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]
        assert light.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["quik", "front"], "unknown board 'quik': did you mean 'quick'?"),
        (["quick", "fornt"], "unknown figure 'fornt': did you mean 'front'?"),
        (["quick", "front", "--out", "x.pfd"], "cannot write x.pfd: did you mean 'x.pdf'?"),
        (["quick", "front", "--out", "folder"], "--out takes a file that ends in .png, .pdf or .svg"),
        (["quick", "front", "--rows", "lora,lroa"], "unknown row 'lroa': did you mean 'lora'?"),
        (["quick", "front", "--kind", "sbject"], "did you mean 'subject'?"),
        (["quick", "front", "--task", "style-knit-a"], "--task is for a grid"),
        (["quick", "tuning"], "quick has nothing that the figure tuning could show"),
        (["quick", "front", "--out", "file/x.png"], "cannot write file/x.png"),
        (["quick", "front", "--out", "folder.png"], "cannot write folder.png"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(litmus, tmp_path, words, line):
    (tmp_path / "file").write_text("a file where a folder should be")
    (tmp_path / "folder.png").mkdir()
    code, out, err = litmus("plot", *words)
    assert (code, out) == (2, "")
    assert line in err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")


def test_what_is_left_out_is_said(litmus, home):
    (home / "results" / "quick" / "runs" / "broken.json").write_text("{")
    code, _, err = litmus("plot", "quick", "front", "--rows", "lora,lora + prior")
    assert code == 0
    assert "broken.json" in err
    assert "lora + prior ran on 1 of 2 tasks" in err
