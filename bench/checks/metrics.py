"""What every metric is examined by: its card is whole, and its numbers keep to what the card says.

`examine` runs all checks and reports, `check_metric` raises, `check_file` serves `litmus check-metric FILE`. Cells are
made of random unit features, some of them with a known answer: a row as good as truth, an unrelated one, a copied one.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from bench.checks.result import Result, attempt, demand, of_file
from bench.core.rng import numpy_rng
from bench.metrics import Features, Metric, Views, measure
from bench.metrics.base import KINDS, METRICS, RESERVED, TABLES

DIM, P, N, SCENES = 12, 5, 2, ("beach", "forest", "snow")
HEAVY = ("torch", "torchvision", "torchmetrics", "diffusers", "transformers", "pandas", "matplotlib", "scipy")


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class _World:
    """Random features in which the concept, and each prompt, is a direction with scatter around it."""

    def __init__(self, seed: int):
        self.rng = numpy_rng("check metric", seed)
        self.concept = _unit(self.rng.standard_normal((3, DIM)))  # in the spaces of identity, style and image
        self.prompts = _unit(self.rng.standard_normal((P, DIM)))

    def random(self, *shape: int) -> np.ndarray:
        return _unit(self.rng.standard_normal((*shape, DIM)))

    def near(self, centre: np.ndarray, *shape: int, spread: float = 0.5) -> np.ndarray:
        return _unit(centre + spread * self.random(*shape))

    def views(self, *shape: int, seen: np.ndarray | None = None) -> Views:
        told = {} if seen is None else {"scene": seen}
        return Views(self.random(*shape), self.random(*shape), self.random(*shape), told)

    def true(self, seen: np.ndarray | None = None) -> Views:
        """Pictures (P, N) of the concept that show what was asked."""
        identity, style = (self.near(c, P, N) for c in self.concept[:2])
        image = self.near(_unit(self.prompts[:, None] + self.concept[2]), P, N)
        return Views(identity, style, image, {} if seen is None else {"scene": seen})

    def photos(self, n: int) -> Views:
        """Pictures (n,) of the concept for no prompt of ours."""
        identity, style, image = (self.near(c, n) for c in self.concept)
        return Views(identity, style, image)


def cell(kind: str = "subject", seed: int = 0) -> Features:
    """A cell of random features, 5 prompts with 2 pictures each, that has all that a metric may ask for."""
    w = _World(seed)
    asked = [SCENES[i % 3] for i in range(P)]
    seen = w.rng.choice(np.array(SCENES), (P, N))
    return Features(
        kind=kind,
        plain=tuple(f"a robot in the {scene}, {i}" for i, scene in enumerate(asked)),
        asks=tuple({"scene": scene} if i else {} for i, scene in enumerate(asked)),
        texts=w.prompts,
        cell=w.views(P, N, seen=seen),
        prior=w.views(3, N),
        drift=w.views(4, N),
        train=w.photos(4),
        heldout=w.photos(3),
        truth=w.true(),
        base_cell=w.views(P, N),
        base_prior=w.views(3, N),
        base_drift=w.views(4, N),
        loss_train=float(w.rng.uniform(0, 2)),
        loss_heldout=float(w.rng.uniform(0, 2)),
    )


def _rows(kind: str, seed: int) -> tuple[Features, dict[str, Features]]:
    """A row as good as truth, and two bad ones of the same cell: unrelated pictures, copies of the training's."""
    f, w = cell(kind, seed), _World(seed)
    asked = np.array([[SCENES[i % 3]] * N for i in range(P)])
    mine = w.true(asked)
    if kind == "style":  # it shows other things than the training pictures do
        mine = replace(mine, identity=f.base_cell.identity)
    good = replace(f, cell=mine, prior=f.base_prior, drift=f.base_drift, loss_train=0.2, loss_heldout=0.2)
    nothing = {"scene": np.full((P, N), "nothing")}
    unrelated = replace(f, cell=replace(f.cell, seen=nothing), loss_train=1, loss_heldout=1)

    def copied(x: np.ndarray, *shape: int) -> np.ndarray:
        return np.resize(x, (*shape, DIM))

    def copies(*shape: int) -> Views:
        x = f.train
        return Views(copied(x.identity, *shape), copied(x.style, *shape), copied(x.image, *shape))

    taken = replace(copies(P, N), seen=nothing)
    bad = replace(f, cell=taken, prior=copies(3, N), drift=copies(4, N), loss_train=0.05, loss_heldout=1)
    return good, {"unrelated pictures": unrelated, "copies of the training pictures": bad}


def _bare(f: Features) -> Features:
    """The same without all that a cell may lack: one picture a prompt, no truth, no base beside it, no losses."""
    nothing = np.zeros((0, DIM))
    empty = Views(nothing, nothing, nothing)
    one = Views(f.cell.identity[:, :1], f.cell.style[:, :1], f.cell.image[:, :1])
    none = dict.fromkeys(("prior", "drift", "base_prior", "base_drift", "truth", "loss_train", "loss_heldout"))
    return replace(f, cell=one, heldout=empty, asks=({},) * P, **none)  # type: ignore[arg-type]


def _cells(metric: Metric) -> Iterator[Features]:
    """Cells of each kind that the metric is for."""
    for kind in metric.kinds:
        for seed in range(8):
            yield cell(kind, seed)
        yield from (row for rows in [_rows(kind, 0)] for row in (rows[0], *rows[1].values()))
        yield _bare(cell(kind))


def _values(metric: Metric, f: Features) -> dict[str, float]:
    """Its values by `measure`'s rules: of a family, each member's."""
    with METRICS.kept():
        METRICS[metric.name] = type(metric)
        return measure(f, [metric.spec])[0]


# --- the checks ---------------------------------------------------------------------------------------------------


def declares_itself(metric: Metric) -> None:
    """Its card is whole: name, title, definition, unit, source, bounds, direction, version, place in the tables."""
    cls = type(metric)
    assert cls.name.isidentifier(), f"name is a word of letters, digits and underscores, not {cls.name!r}"
    assert cls.name not in RESERVED, f"{cls.name!r} is another column of the tables: choose another name"
    for fact in ("title", "definition", "unit", "source"):
        said = getattr(metric, fact)
        one_line = isinstance(said, str) and bool(said.strip()) and "\n" not in said
        assert one_line, f"{fact} is one line of text, not {said!r}"
    for fact, what in (("higher_is_better", "True, False, or None where it only describes"), ("bounds", "(low, high)")):
        declared = any(fact in vars(c) for c in cls.__mro__[: cls.__mro__.index(Metric)])
        assert declared, f"the card does not say {fact}: {what}"
    for fact, fits, what in (
        ("higher_is_better", lambda x: x in (True, False, None), "True, False or None"),
        ("bounds", lambda x: len(x) == 2 and x[0] < x[1], "(low, high)"),
        ("version", lambda x: type(x) is int and x >= 1, "a whole number from 1"),
        ("kinds", lambda x: x and set(x) <= set(KINDS), f"a tuple of {', '.join(KINDS)}"),
        ("table", lambda x: x in TABLES, '"main", "details" or ""'),
        ("digits", lambda x: type(x) is int and 0 <= x <= 9, "a whole number from 0 to 9"),
    ):
        assert fits(getattr(metric, fact)), f"{fact} is {what}, not {getattr(metric, fact)!r}"
    try:
        cls()
    except TypeError as error:
        raise AssertionError(f"every setting needs a default: {error}") from None
    for key, value in metric.hyper().items():
        assert value is None or isinstance(value, int | float | str), (
            f"{key} = {value!r} cannot be written in a protocol: use a number, true, false, none or text"
        )
    assert not cls.family or cls.family in [f.name for f in fields(cls)], f"family names no setting: {cls.family!r}"


def imports_lightly(metric: Metric) -> None:
    """Its file imports nothing heavy: tables and plans read its card, and must not wait for torch."""
    space = vars(sys.modules[type(metric).__module__]).values()
    names = {x.__name__ if isinstance(x, types.ModuleType) else str(getattr(x, "__module__", "")) for x in space}
    heavy = sorted({name.split(".")[0] for name in names}.intersection(HEAVY))
    assert not heavy, f"the file imports {', '.join(heavy)} at its top: import it inside score"


def gives_numbers(metric: Metric) -> None:
    """A value per prompt, one number, or None; where a cell lacks something it does not break."""
    some = False
    for f in _cells(metric):
        for one in metric.members(f):
            found = one.score(f)
            if found is None:
                continue
            each = np.asarray(found)
            assert each.dtype.kind in "fiu", f"score gives {type(found).__name__}, not numbers"
            assert each.ndim <= 1, f"score gives the shape {each.shape}: one number, or one per prompt"
            assert not each.ndim or len(each) > 0, "score gives an empty row: give None where nothing is defined"
            assert not np.isnan(each).all(), "score gives nan: give None where nothing is defined"
            some = True
    assert some, f"score gives None for every {' and '.join(metric.kinds)} cell"


def keeps_to_its_bounds(metric: Metric) -> None:
    """No value lies outside the card's bounds."""
    low, high = metric.bounds
    for f in _cells(metric):
        for name, value in _values(metric, f).items():
            assert low - 1e-9 <= value <= high + 1e-9, f"{name} is {value:.6g}, outside its bounds {low:g} to {high:g}"


def repeats(metric: Metric) -> None:
    """The same cell has the same value, and looking at it changes nothing in it."""
    for f in _cells(metric):
        arrays = [x for x in _arrays(f) if isinstance(x, np.ndarray)]
        before = [x.copy() for x in arrays]
        once, twice = _values(metric, f), _values(metric, f)
        assert once == twice, "the same cell has two values: draw from bench.core.rng.numpy_rng(name), made in score"
        assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True)), "score changes the features"


def _arrays(f: Features) -> Iterator[object]:
    for view in (getattr(f, x.name) for x in fields(f)):
        yield from (view.identity, view.style, view.image, *view.seen.values()) if isinstance(view, Views) else (view,)


def does_not_depend_on_order(metric: Metric) -> None:
    """The prompts in another order give the same value; with sampled = True, nearly the same."""
    same = True
    for kind in metric.kinds:
        for seed in range(4):
            f = cell(kind, seed)
            one, other = _values(metric, f), _values(metric, _shuffled(f, seed))
            assert one.keys() == other.keys(), "another order of the prompts gives other scores"
            for name, a in one.items():
                b = other[name]
                near = np.isclose(a, b, rtol=1e-9, atol=1e-9)
                same &= bool(near)
                loose = metric.sampled and np.isclose(a, b, rtol=0.5, atol=1e-6)
                assert near or loose, f"{name} is {a:.6g}, and {b:.6g} when the prompts come in another order"
    assert not (metric.sampled and same), "sampled = True, yet no order moves it: leave the declaration out"


def _shuffled(f: Features, seed: int) -> Features:
    """The same cell with its prompts, and those of the prior and of drift, in another order."""
    order = numpy_rng("check metric order", seed).permutation(P)
    if (order == np.arange(P)).all():
        order = order[::-1]

    def turned(v: Views | None, by: np.ndarray) -> Views | None:
        if v is None:
            return None
        return Views(v.identity[by], v.style[by], v.image[by], {k: x[by] for k, x in v.seen.items()})

    names = ("cell", "truth", "base_cell")
    back = {name: turned(getattr(f, name), order) for name in names}
    back |= {n: turned(getattr(f, n), np.arange(3)[::-1]) for n in ("prior", "base_prior")}
    back |= {n: turned(getattr(f, n), np.arange(4)[::-1]) for n in ("drift", "base_drift")}
    words = {"plain": tuple(f.plain[i] for i in order), "asks": tuple(f.asks[i] for i in order)}
    return replace(f, texts=f.texts[order], **words, **back)  # type: ignore[arg-type]


def points_the_right_way(metric: Metric) -> None:
    """A row as good as truth is better than the bad row that it differs most from, by the card's direction."""
    if metric.higher_is_better is None:
        return
    for kind in metric.kinds:
        gaps: dict[str, list[dict[str, float]]] = {}
        for seed in range(4):
            good, bad = _rows(kind, seed)
            best = _values(metric, good)
            for what, row in bad.items():
                worse = _values(metric, row)
                gaps.setdefault(what, []).append({k: best[k] - worse[k] for k in best.keys() & worse.keys()})
        for name in {k for rows in gaps.values() for row in rows for k in row}:
            mean = {
                what: float(np.mean([row[name] for row in rows if name in row] or [0])) for what, rows in gaps.items()
            }
            what = max(mean, key=lambda w: abs(mean[w]))
            gain = mean[what] if metric.higher_is_better else -mean[what]
            assert gain >= 0 or abs(gain) < 1e-9, (
                f"{name} of true pictures is {abs(gain):.3g} {'below' if metric.higher_is_better else 'above'} that of "
                f"{what}: is higher_is_better = {metric.higher_is_better} the right way?"
            )


Check = Callable[[Metric], None]

ALL: tuple[Check, ...] = (
    declares_itself,
    imports_lightly,
    gives_numbers,
    keeps_to_its_bounds,
    repeats,
    does_not_depend_on_order,
    points_the_right_way,
)


def examine(metric: Metric, checks: Sequence[Check] | None = None) -> list[Result]:
    """Every check on `metric`, none skipped because another failed."""
    return [attempt(check, metric) for check in (ALL if checks is None else checks)]


def check_metric(metric: Metric) -> None:
    """For an author's own test suite: AssertionError with a line for each check that `metric` fails."""
    demand(examine(metric), f"{metric.name} breaks its card")


def check_file(path: str | Path) -> list[Result]:
    """Every check on every metric that the file registers (bench.checks.result.of_file)."""
    return of_file(path, Metric, "bench.metrics", examine)
