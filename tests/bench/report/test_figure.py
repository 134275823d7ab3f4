"""bench.report.figure, front, style: drawn from records, nothing overlaps, the same bytes every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.core import style
from bench.report import figure, front
from bench.report.material import drawings, of
from bench.study.leaderboard import boards


@pytest.fixture(scope="module")
def material(stored, tmp_path_factory):
    return of("quick", tmp_path_factory.mktemp("quick"), stored)


@pytest.fixture(scope="module")
def drawn(material):
    return {d.name: d.figure for d in drawings(material)}


def test_all_figures_are_there(drawn):
    assert list(drawn) == ["headline", "front", "tradeoff", "tasks", "curves", "costs"]


def boxes(ax):
    """Boxes in pixels of an axes' visible free texts."""
    renderer = ax.get_figure().canvas.get_renderer()
    return {t.get_text(): t.get_window_extent(renderer) for t in ax.texts if t.get_text()}


def overlap(a, b) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


@pytest.mark.parametrize("name", ["front", "tradeoff", "curves", "costs"])
def test_labels_do_not_overlap(drawn, name):
    fig = drawn[name]
    fig.canvas.draw()
    for ax in fig.axes:
        for (a, box), (b, other) in itertools.combinations(boxes(ax).items(), 2):
            assert not overlap(box, other), (a, b)


@pytest.mark.parametrize("name", ["headline", "front", "tradeoff", "tasks", "curves", "costs"])
def test_no_text_leaves_the_picture(drawn, name):
    fig = drawn[name]
    fig.canvas.draw()
    inner, outer = fig.get_tightbbox(), fig.get_size_inches()
    assert inner.x0 > -0.02
    assert inner.y0 > -0.02
    assert inner.x1 < outer[0] + 0.02
    assert inner.y1 < outer[1] + 0.02


def test_rows_in_a_figure(material, drawn):
    names = [t.get_text() for t in drawn["headline"].axes[0].get_yticklabels()]
    assert names == [x.row for x in material.whole.lines if x.trained]
    assert {"lora", "adapter"} <= set(boxes(drawn["front"].axes[0]))
    assert "lora + prior" not in boxes(drawn["front"].axes[0])  # its mean is over other tasks


def test_marks_stand_where_the_numbers_are(material, drawn):
    line = next(x for x in material.boards[0].lines if x.row == "adapter")
    ax = drawn["front"].axes[0]
    at = (line.costs["scalars_trainable"], line.get("headline").value)
    assert any(np.allclose([m.get_xdata()[0], m.get_ydata()[0]], at) for m in ax.lines if len(m.get_xdata()) == 1)


def test_same_bytes_again(material):
    for form in ("png", "svg"):
        figures = [figure.costs(material.whole, material.looks) for _ in range(2)]
        one, two = (style.render(fig, form) for fig in figures if fig is not None)
        assert one == two
        assert len(one) > 2000


def test_without_truth_there_is_no_headline_figure(stored, tmp_path):
    bare = of("x", tmp_path, [r for r in stored if not r.run.method.startswith("truth")])
    assert [d.name for d in drawings(bare)] == ["tasks", "curves", "costs"]


def test_a_single_method_on_a_single_task(stored, tmp_path):
    records = [r for r in stored if r.run.task.endswith("cat-b") and r.run.method in ("base", "truth", "bias")]
    assert [d.name for d in drawings(of("x", tmp_path, records))] == [
        "headline",
        "front",
        "tradeoff",
        "tasks",
        "curves",
        "costs",
    ]


def test_nothing_but_failures(stored, tmp_path):
    failed = [r.model_copy(update={"status": "oom", "scores": {}}) for r in stored if r.run.method == "lora"]
    rest = [r for r in stored if r.run.method in ("base", "truth")]
    drawings(of("x", tmp_path, [*rest, *failed]))  # all at zero, but drawn


def test_a_dollar_is_a_dollar(stored, tmp_path):
    named = [
        r.model_copy(update={"run": r.run.model_copy(update={"spec": "lo$ra_{$"})}) if r.run.spec == "lora" else r
        for r in stored
    ]
    material = of("x", tmp_path, named)
    for drawing in drawings(material):
        style.render(drawing.figure, "png", 50)


# --- parts --------------------------------------------------------------------------------------------------------


def test_pareto_by_brute_force():
    random = np.random.default_rng(0)
    points = [tuple(p) for p in random.integers(0, 6, (30, 2)).astype(float)]
    found = {points[i] for i in front.pareto(points)}
    better = {p for p in points if not any((q[0] <= p[0] and q[1] >= p[1]) and q != p for q in points)}
    assert found == better
    costs = [points[i][0] for i in front.pareto(points)]
    assert costs == sorted(costs)


def test_one_look_per_row_whatever_the_board():
    every = [("lora", "lora"), ("lora[rank=8]", "lora"), ("full", "full"), ("mine", "mine")]
    one, two = style.looks(every), style.looks(reversed(every))
    assert one == two
    assert len(set(one.values())) == 4
    assert one["lora"].colour == style.looks([("lora", "lora")])["lora"].colour
    assert one["lora"].colour != one["lora[rank=8]"].colour


@pytest.mark.parametrize("colour", ["#56B4E9", "#E69F00", "#ffffff", "#0072B2"])
def test_label_colours_are_readable(colour):
    parts = [int(style.readable(colour)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG 2, AA, on white


def test_panels_are_the_kinds(material):
    fig = front.front(boards(material.tidy.frame), material.looks)
    assert fig is not None
    assert len(fig.axes) == 2
