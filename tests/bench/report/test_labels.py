"""bench.report.labels: marks and names of 8 and of 74 rows, measured in pixels; at any size and in any axes."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest

from bench.core import style
from bench.report import labels
from bench.report.figure import MOST, pitch, ranked, shown
from bench.report.material import Material, drawings, of


def many(stored, rows: int):
    """A board of that many rows: `lora` of the stored records again and again under other names, sizes and scores."""
    random = np.random.default_rng(3)
    out = [r for r in stored if r.run.objective != "prior"]
    model = [r for r in out if r.run.spec == "lora" and r.run.seed == 0]
    for i in range(rows - len({r.run.spec for r in out if r.run.lr})):
        name = f"competitor_{i}" if i % 3 else f"m{i}"
        better, bigger, slower = random.normal(0, 0.08), 10 ** random.uniform(-2, 1.5), random.uniform(0.5, 2)
        for r in model:
            run = r.run.model_copy(update={"spec": name, "method": name})
            scores = dict(r.scores)
            for score in ("concept", "identity", "style", "text", "drift"):
                if scores.get(score) is not None:
                    scores[score] += (better + random.normal(0, 0.02)) * (0.2 if score in ("text", "drift") else 1)
            cost = r.cost.model_copy(
                update={
                    "scalars_trainable": round(r.cost.scalars_trainable * bigger),
                    "seconds_step": r.cost.seconds_step * slower,
                }
            )
            curve = r.curve.model_copy(
                update={"train": [x * (1 + better) if k else x for k, x in enumerate(r.curve.train)]}
            )
            out.append(
                r.model_copy(update={"key": f"{r.key}{i}", "run": run, "scores": scores, "cost": cost, "curve": curve})
            )
    return out


@pytest.fixture(scope="module", params=[8, 74])
def board(stored, tmp_path_factory, request) -> Material:
    m = of("many", tmp_path_factory.mktemp("many"), many(stored, request.param))
    assert len(m.looks) == request.param
    return m


@pytest.fixture(scope="module", params=["light", "dark"])
def drawn(board, request):
    return {d.name: d.figure for d in drawings(board, request.param)}


def boxes(ax):
    """(text, its box in pixels) of the visible texts that stand in or beside an axes, names of its rows too."""
    renderer = ax.get_figure().canvas.get_renderer()
    ticks = [tick.label1 for axis in (ax.xaxis, ax.yaxis) for tick in axis._update_ticks()]  # those in view
    tops = [tick.label2 for tick in ax.xaxis._update_ticks()]
    texts = [*ax.texts, *ticks, *tops]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_visible() and t.get_text()]


def overlap(a, b) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


def check(fig, inside: bool = True) -> list[str]:
    """Draw `fig`, hold every label against every other and the edges; returns the labels of rows."""
    fig.canvas.draw()
    names = []
    for ax in fig.axes:
        seen = boxes(ax)
        for (a, box), (b, other) in itertools.combinations(seen, 2):
            assert not overlap(box, other), (a, b)
        for text, box in seen:
            assert box.x0 > -1, text
            assert box.y0 > -1, text
            assert box.x1 < fig.bbox.x1 + 1, text
            assert box.y1 < fig.bbox.y1 + 1, text
        frame = ax.get_window_extent()
        for t in ax.texts:
            if inside and t.get_visible() and not t.get_in_layout():  # what was placed
                box = t.get_window_extent()
                assert box.x0 > frame.x0 - 1
                assert box.y0 > frame.y0 - 1
                assert box.x1 < frame.x1 + 1
                assert box.y1 < frame.y1 + 1
                names.append(t.get_text())
    return names


@pytest.mark.parametrize("name", ["headline", "front", "tradeoff", "curves", "costs", "tasks"])
def test_nothing_overlaps_and_nothing_leaves(drawn, board, name):
    names = check(drawn[name])
    if name in ("front", "tradeoff", "curves"):
        assert "lora" in names
        if len(board.looks) == 8:  # each row once in each of the two panels
            assert all(names.count(row) == 2 for row in board.looks)
        else:
            assert len(names) / 2 < 24


@pytest.mark.parametrize("name", ["headline", "front", "tradeoff", "curves", "costs", "tasks"])
def test_no_figure_is_too_tall(drawn, name):
    """In pixels at the report's dpi."""
    assert drawn[name].get_figheight() * style.DPI <= 2600


def test_a_ladder_is_bounded_for_any_number_of_rows():
    assert pitch(8) == 0.34
    assert pitch(MOST) * MOST < 14
    assert all(pitch(n) >= pitch(n + 1) for n in range(1, 100))


def test_every_row_is_on_the_ladder(drawn, board):
    names = [t.get_text() for t in drawn["headline"].axes[0].get_yticklabels()]
    assert names == [x.row for x in shown(board.whole)]


def solid_marks(ax):
    """Lines of one point that carry a row's mark."""
    return [x for x in ax.lines if len(x.get_xdata()) == 1 and (x.get_alpha() or 1) > 0.5 and x.get_zorder() > 4.5]


@pytest.mark.parametrize("name", ["front", "tradeoff"])
def test_no_mark_hides_another(drawn, name):
    """Marks that lie on each other differ in size by more than their edges, and the wider one is a ring."""
    fig = drawn[name]
    fig.canvas.draw()
    for ax in fig.axes:
        for a, b in itertools.combinations(solid_marks(ax), 2):
            spots = [ax.transData.transform(x.get_xydata())[0] for x in (a, b)]
            sizes = sorted(x.get_markersize() for x in (a, b))
            if math.dist(*spots) < 0.5 * sizes[0] * fig.dpi / 72 and sizes[1] < 20:
                assert sizes[1] - sizes[0] >= 4
                wider = max((a, b), key=lambda x: x.get_markersize())
                assert wider.get_markerfacecolor() == "none"


def test_two_rows_in_one_place_are_both_seen():
    """By their colours in the picture itself."""
    from PIL import Image

    with style.style():
        fig = style.figure(3, 3)
        (ax,) = style.panels(fig, 1, 1)
        colours = ("#d55e00", "#0072b2", "#009e73")
        marks = [ax.plot([1], [1 + i / 5000], "o", color=c, ms=6.5, zorder=5)[0] for i, c in enumerate(colours)]
        ax.set(xlim=(0, 2), ylim=(0, 2))
        labels.keep_apart(ax, marks)
    pixels = np.asarray(Image.open(io.BytesIO(style.render(fig, "png"))).convert("RGB")).reshape(-1, 3)
    for colour in colours:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels.astype(int) - rgb).max(1) < 8).sum() > 60


def test_bars_of_a_full_picture_are_those_of_the_named(drawn, board):
    """A mesh of 74 crosses says nothing: beyond twelve rows only those that stand out have intervals."""
    for ax in drawn["tradeoff"].axes:
        bars = [x for x in ax.lines if len(x.get_xdata()) == 2 and x.get_zorder() == 3]
        named = sum(not look.faint for look in board.looks.values())
        assert len(bars) <= 2 * named
        assert named <= 12


def test_rows_that_recede_are_there(drawn, board):
    marks = sum(len(x.get_xdata()) == 1 and x.get_zorder() in (2.5, *np.arange(4.9, 5.01, 0.001).round(3))
                for x in drawn["tradeoff"].axes[0].lines)  # fmt: skip
    assert marks == len(ranked(board.whole))


def test_placed_again_at_any_dpi_and_form(board):
    for dpi in (60, 200):
        fig = drawings(board, only=["front"])[0].figure
        style.render(fig, "png", dpi)
        check(fig)
    again = [style.render(drawings(board, only=["front"])[0].figure, form) for form in ("svg", "svg", "pdf", "pdf")]
    assert again[0] == again[1]
    assert again[2] == again[3]


def test_the_widest_names_still_fit():
    with style.style():
        fig = style.figure(4, 3)
        (ax,) = style.panels(fig, 1, 1)
        points = [(0.98, 0.5), (0.02, 0.98), (0.5, 0.02)]
        names = ["a_method_with_a_long_name[rank=16]", "another_of_that_kind[rank=8]", "lora"]
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.plot(*zip(*points, strict=True), "o", ms=6)
        labels.label_points(ax, points, names, ["#0072B2"] * 3)
    assert sorted(check(fig)) == sorted(names)


def test_an_optional_label_without_a_place_is_left_out():
    with style.style():
        fig = style.figure(1.6, 1.4)
        (ax,) = style.panels(fig, 1, 1)
        points = [(0.5, 0.5 + i / 100) for i in range(30)]
        labels.label_points(ax, points, [f"method_{i}" for i in range(30)], ["#0072B2"] * 30, optional=True)
    names = check(fig)
    assert 2 <= len(names) < 30
    assert "method_0" in names  # the first choose first


def test_names_at_the_ends_of_lines_that_do_not_fit_are_left_out():
    with style.style():
        fig = style.figure(3, 1.5)
        (ax,) = style.panels(fig, 1, 1)
        ends = {f"m{i}": (1.0, float(i)) for i in range(40)}
        ax.plot([0, 1], [0, 39], alpha=0)
        ax.set_xlim(0, 2)
        labels.label_ends(ax, ends, dict.fromkeys(ends, style.Look("#0072B2", "o")))
    names = check(fig)
    assert 3 <= len(names) < 20
    assert "m0" in names


@pytest.mark.parametrize("seed", range(5))
def test_spread_apart(seed):
    wanted = np.random.default_rng(seed).uniform(0, 10, 8).tolist()
    found = labels.spread_apart(wanted, 1.0, 0.0, 10.0)
    assert np.argsort(found).tolist() == np.argsort(wanted).tolist()
    assert np.diff(sorted(found)).min() > 1 - 1e-9
    assert min(found) >= 0
    assert max(found) <= 10


def test_spread_apart_moves_nobody_without_need():
    assert labels.spread_apart([1.0, 5.0, 3.0], 1.0) == [1.0, 5.0, 3.0]
    assert labels.spread_apart([1.0, 1.0], 1.0) == [0.5, 1.5]
