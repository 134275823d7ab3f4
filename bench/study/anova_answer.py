"""What a study of adapters says: effects, means, ties, checks and the winner, for one response and set of tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.study import Frame
from bench.study.anova import Checks, Effect, Means, Model, Term, checks, one_way, tukey
from bench.study.anova_frame import ARROW, FACTORS, Grid
from bench.study.anova_mixed import Mixed, mixed
from bench.study.anova_paper import PUBLISHED, PUBLISHED_FORM, SIMILARITY
from bench.study.stats import LEVEL, tie_groups

FORM = ("activation", "scale", "init", "size", "lr")
SPARE = 5  # degrees of freedom that interactions must leave to the error


@dataclass(frozen=True)
class Answer:
    """The analysis of one response over the tasks of one kind (subject, style or all).

    heat       pair -> mean of the response over its cells, blocks filled in by the model
    paper      one-way F per factor over all cells, as the paper did; `map_` the same over the heat map's means
    second     type II lines of the factorial model; `third` type III of its main effects and full crossings
    rest       degrees of freedom and mean square of the model's error; `normal` Shapiro's p of its residuals
    means      least-squares means: "pair", each factor with several levels, and each drawn interaction ("source:scale")
    ties       letters per pair: pairs that share one cannot be told apart (Tukey)
    """

    kind: str
    column: str
    cells: int
    heat: dict[tuple[str, str], float]
    paper: list[Effect]
    map_: list[Effect]
    second: list[Effect]
    third: list[Effect]
    rest: tuple[int, float]
    normal: float
    residuals: tuple[list[float], list[float]]  # fitted, residual
    checks: list[Checks]
    means: dict[str, Means]
    pairs: Frame
    ties: dict[str, str]
    mixed: Mixed
    dropped: list[str]  # interactions for which there were too few cells

    def get(self, term: str, table: str = "second") -> Effect | None:
        return next((e for e in getattr(self, table) if e.term == term), None)

    def order(self) -> list[str]:
        """Pairs, best mean first."""
        means = self.means["pair"]
        return [means.levels[i][0] for i in means.order()]

    def tied(self) -> list[str]:
        """The pairs that Tukey's test cannot tell from the best, which comes first."""
        best, *others = self.order()
        return [best, *(o for o in others if not self.apart(best, o) < 1 - LEVEL)]

    def apart(self, a: str, b: str) -> float:
        """Tukey's p of two pairs; nan where it is not known."""
        for x, y, p in zip(self.pairs["a"], self.pairs["b"], self.pairs["p"], strict=True):
            if {x[0], y[0]} == {a, b}:
                return float(p)
        return math.nan


def terms(grid: Grid, frame: Frame) -> tuple[list[Term], list[str]]:
    """The factorial model's terms: blocks, main effects, and interactions while the error keeps degrees of freedom."""
    several = [f for f in FACTORS if frame[f].nunique() > 1 and f != "base"]
    form = [f for f in several if f in FORM]
    main: list[Term] = [("block",)] if frame["block"].nunique() > 1 else []
    main += [(f,) for f in several]
    wanted: list[Term] = [("source", "target")] if {"source", "target"} <= set(several) else []
    wanted += [(f, g) for i, f in enumerate(form) for g in form[i + 1 :]]
    wanted += [("source", f) for f in form] if "source" in several else []
    wanted += [("kind", f) for f in several] if frame["kind"].nunique() > 1 else []
    wanted += [("base", f) for f in several] if frame["base"].nunique() > 1 else []
    wanted += [("target", f) for f in form] if "target" in several else []
    estimable, dropped = list(main), []
    y = "headline" if "headline" in frame else frame.columns[0]
    filled = frame.assign(**{y: frame[y].fillna(0.0)})
    for term in wanted:
        if Model(filled, y, [*estimable, term]).df_error >= max(SPARE, len(frame) // 5):
            estimable.append(term)
        else:
            dropped.append(":".join(term))
    return estimable, dropped


def answer(grid: Grid, column: str = "headline", kind: str = "all", light: bool = False) -> Answer | None:
    """The analysis of `column` over the tasks of `kind`; None where no cell has it.

    `light`: effects alone, without the tests that take seconds (Tukey, permutations, the mixed model).
    """
    frame, whole = grid.frame.dropna(subset=[column]), grid.whole
    if kind != "all":
        frame, whole = frame[frame["kind"] == kind], whole[whole["kind"] == kind]
    if len(frame) < 3 or frame[column].nunique() < 2:
        return None
    # Cells of the grid in blocks or forms that this response never met cannot be filled in.
    met = [set(frame[f]) for f in ("block", "pair", *FORM)]
    keep = [
        all(row[i] in s for i, s in enumerate(met)) for row in whole[["block", "pair", *FORM]].itertuples(index=False)
    ]
    whole = whole[keep]
    estimable, dropped = terms(grid, frame)
    model = Model(frame, column, estimable)
    several = [f for f in FACTORS if frame[f].nunique() > 1]
    # Means come from blocks, pairs and main effects, which any prefix of the design can estimate; interactions count
    # as error there, so that the intervals are on the safe side.
    lean: list[Term] = [t for t in estimable if len(t) == 1]
    lean += [("source", "target")] if {"source", "target"} <= set(several) else []
    plain = Model(frame, column, lean)
    means = {"pair": plain.means(("pair",), whole)} if "source" in several or "target" in several else {}
    means |= {f: plain.means((f,), whole) for f in several}
    for term in estimable:
        if len(term) == 2 and term[0] in ("source", "kind", "activation") and term != ("source", "target"):
            means[":".join(term)] = Model(frame, column, [*lean, term]).means(term, whole)
    heat = {}
    if "pair" in means:
        for (name,), value in zip(means["pair"].levels, means["pair"].values, strict=True):
            source, target = name.split(ARROW)
            heat[source, target] = float(value)
    crossed = [t for t in estimable if t != ("source", "target")]
    compared = tukey(means["pair"]) if means and "pair" in means and not light else _no_pairs()
    return Answer(
        kind=kind,
        column=column,
        cells=len(frame),
        heat=heat,
        paper=[one_way(frame[column].tolist(), frame[f].tolist(), f) for f in several],
        map_=over_map(heat),
        second=model.second(),
        third=Model(frame, column, crossed).third() if not light else [],
        rest=(model.df_error, model.ss_error / model.df_error if model.df_error else math.nan),
        normal=_normal(model),
        residuals=([float(x) for x in model.fit.fittedvalues], [float(x) for x in model.residuals]),
        checks=[] if light else [checks(frame, f, column) for f in several],
        means=means,
        pairs=compared,
        ties=_ties(means, compared),
        mixed=Mixed() if light else mixed(frame, column, [f for f in several if f != "base"]),
        dropped=dropped,
    )


def over_map(heat: dict[tuple[str, str], float]) -> list[Effect]:
    """One-way F of the input and of the output over the cells of a heat map."""
    known = {pair: value for pair, value in heat.items() if not math.isnan(value)}
    if len(known) < 3:
        return []
    values = list(known.values())
    return [one_way(values, [pair[i] for pair in known], name) for i, name in enumerate(("source", "target"))]


def _normal(model: Model) -> float:
    from scipy.stats import shapiro

    rest = model.residuals
    return float(shapiro(rest)[1]) if 3 <= len(rest) <= 5000 and rest.std() > 1e-12 else math.nan


def _no_pairs() -> Frame:
    import pandas as pd

    return pd.DataFrame(columns=["a", "b", "difference", "low", "high", "p"])


def _ties(means: dict[str, Means], compared: Frame) -> dict[str, str]:
    if not len(compared):
        return {}
    rows = [means["pair"].levels[i][0] for i in means["pair"].order()]
    table = compared.assign(
        a=[x[0] for x in compared["a"]], b=[x[0] for x in compared["b"]], p_holm=compared["p"]
    )  # Tukey's p is for all pairs at once already
    return tie_groups(rows, table)


# --- held against the paper ---------------------------------------------------------------------------------------


def agreement(heat: dict[tuple[str, str], float]) -> tuple[float, float, int]:
    """Spearman's correlation of a heat map with the published one, its p, the number of pairs; nan for fewer than 4."""
    from scipy.stats import spearmanr

    both = [(heat[p], SIMILARITY[p]) for p in SIMILARITY if not math.isnan(heat.get(p, math.nan))]
    if len(both) < 4:
        return math.nan, math.nan, len(both)
    ours, published = zip(*both, strict=True)
    result: Any = spearmanr(ours, published)
    return float(result.statistic), float(result.pvalue), len(both)


def disagreements(heat: dict[tuple[str, str], float], least: int = 7) -> list[tuple[tuple[str, str], int, int]]:
    """(pair, rank here, rank in the paper) of pairs whose ranks differ by at least `least`, the widest first."""
    both = [p for p in SIMILARITY if not math.isnan(heat.get(p, math.nan))]
    ours, theirs = ({p: 1 + sum(table[o] > table[p] for o in both) for p in both} for table in (heat, SIMILARITY))
    far = [(p, ours[p], theirs[p]) for p in both if abs(ours[p] - theirs[p]) >= least]
    return sorted(far, key=lambda x: -abs(x[1] - x[2]))


# --- the winner ---------------------------------------------------------------------------------------------------

RULE = (
    "the best pair is the one with the highest least-squares mean of the headline over all tasks; its tie group holds "
    "the pairs that Tukey's test at 5 % cannot tell from it. The default follows evidence, not luck: it stays with the "
    "published pair while that is in the tie group, and is the best pair else; each setting stays as published unless "
    "its factor has p < 0.05 in the factorial model, and is the level with the highest least-squares mean then"
)


def winner(grid: Grid, main: Answer) -> dict[str, Any]:
    """The best pair, its tie group, and the default that follows, as a table that JSON can carry.

    `hyper` is what the registry's `adapter` reads. A tie is no reason to leave the published pair, which every base
    has a place for.
    """
    order, tied = main.order(), main.tied()
    source, target = PUBLISHED if ARROW.join(PUBLISHED) in tied else order[0].split(ARROW)
    settings: dict[str, Any] = {"source": source, "target": target}
    settings |= {factor: _level(grid, main, factor) for factor in FORM}
    size, lr = settings.pop("size"), settings.pop("lr")
    ways = [w for ways in grid.design["sizes"].values() for w in ways]
    width = next((w["width"] for w in ways if (w["source"], w["target"], w["size"]) == (source, target, size)), size)
    return {
        "format": 1,
        "study": grid.design["study"],
        "name": grid.design["name"],
        "cells": main.cells,
        "of": len(grid.design["cells"]),
        "rule": RULE,
        "hyper": {**settings, "scale": float(settings["scale"]), "width": int(width)},
        "lr": float(lr),
        "score": main.column,
        "best": order[0].split(ARROW),
        "mean": round(main.means["pair"].value(order[0]), 4),
        "tied": [name.split(ARROW) for name in tied],
        "published": {"pair": list(PUBLISHED), "rank": 1 + order.index(ARROW.join(PUBLISHED))}
        if ARROW.join(PUBLISHED) in order
        else None,
    }


def _level(grid: Grid, main: Answer, factor: str) -> Any:
    """The level of a factor of the form that the default takes."""
    if not (means := main.means.get(factor)):
        return grid.frame[factor].iloc[0]
    levels, effect = [name for (name,) in means.levels], main.get(factor)
    published_level = PUBLISHED_FORM.get(factor)
    sure = effect is not None and effect.df > 0 and effect.p < 1 - LEVEL
    return levels[means.order()[0]] if sure or published_level not in levels else published_level
