from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.study.anova import Model, checks, effect, one_way, permuted, shares, tukey
from bench.study.anova_paper import SIMILARITY

PAIRS = list(SIMILARITY)
TRANSFORMER = [p for p in PAIRS if not p[0].startswith("res")]


@pytest.mark.parametrize(
    ("pairs", "by", "f", "p", "df"),
    [
        (PAIRS, 0, 11.91, 0.0003, (9, 10)),
        (PAIRS, 1, 0.77, 0.60, (6, 13)),
        (TRANSFORMER, 0, 14.05, 0.0003, (7, 9)),
        (TRANSFORMER, 1, 0.98, 0.45, (4, 12)),
    ],
)
def test_the_published_heat_map_gives_the_paper_s_finding(pairs, by, f, p, df):
    """One way F of the input and the output position over the figure's cells, by us, scipy and statsmodels."""
    import statsmodels.formula.api as smf
    from scipy.stats import f_oneway
    from statsmodels.stats.anova import anova_lm

    values, levels = [SIMILARITY[q] for q in pairs], [q[by] for q in pairs]
    ours = one_way(values, levels)
    groups = [[v for v, name in zip(values, levels, strict=True) if name == level] for level in dict.fromkeys(levels)]
    theirs = f_oneway(*groups)
    table = anova_lm(smf.ols("y ~ C(x)", pd.DataFrame({"y": values, "x": levels})).fit())
    assert (ours.df, ours.df_error) == df
    assert ours.f == pytest.approx(theirs.statistic) == pytest.approx(table["F"].iloc[0])
    assert ours.p == pytest.approx(theirs.pvalue) == pytest.approx(table["PR(>F)"].iloc[0])
    assert (ours.f, ours.p) == (pytest.approx(f, abs=0.006), pytest.approx(p, abs=0.005))


@pytest.fixture(scope="module")
def unbalanced():
    random = np.random.default_rng(0)
    n = 70
    table = {"a": random.integers(0, 3, n), "b": random.integers(0, 2, n), "block": random.integers(0, 4, n)}
    frame = pd.DataFrame(table)
    frame["y"] = 0.4 * (frame["a"] == 1) + 0.1 * frame["block"] + random.normal(size=n)
    return frame


@pytest.mark.parametrize("kind", [2, 3])
def test_sums_of_squares_are_statsmodels(unbalanced, kind):
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    model = Model(unbalanced, "y", [("a",), ("b",), ("block",), ("a", "b")])
    fit = smf.ols("y ~ C(a, Sum) * C(b, Sum) + C(block, Sum)", unbalanced).fit()
    table = anova_lm(fit, typ=kind).drop(["Residual", "Intercept"], errors="ignore")
    found = model.second() if kind == 2 else model.third()
    assert [e.ss for e in found] == pytest.approx(table["sum_sq"].tolist())
    assert [e.p for e in found] == pytest.approx(table["PR(>F)"].tolist())
    assert model.df_error == fit.df_resid


def test_least_squares_means_and_tukey_are_statsmodels(unbalanced):
    from statsmodels.stats.multicomp import pairwise_tukeyhsd

    model = Model(unbalanced, "y", [("a",)])
    means = model.means(("a",), pd.DataFrame({"a": [0, 1, 2]}))
    assert [means.value(k) for k in range(3)] == pytest.approx(unbalanced.groupby("a")["y"].mean().tolist())
    theirs: Any = pairwise_tukeyhsd(unbalanced["y"], unbalanced["a"])
    ours = tukey(means)
    for row in ours.itertuples():
        i = [(0, 1), (0, 2), (1, 2)].index(tuple(sorted((row.a[0], row.b[0]))))
        sign = -1 if row.a < row.b else 1  # theirs is the second minus the first
        assert sign * row.difference == pytest.approx(theirs.meandiffs[i])
        assert row.p == pytest.approx(theirs.pvalues[i], abs=2e-3)
        assert sorted((sign * row.low, sign * row.high)) == pytest.approx(theirs.confint[i].tolist(), abs=2e-3)


def test_the_share_s_interval_inverts_the_noncentral_f():
    from scipy.stats import ncf

    low, high = shares(6.0, 3, 40)
    for share, p in ((low, 0.975), (high, 0.025)):
        assert ncf.cdf(6.0, 3, 40, share * 44 / (1 - share)) == pytest.approx(p, abs=1e-6)
    assert shares(0.3, 3, 40)[0] == 0.0
    one = effect("x", 6.0, 3, 20.0, 60)
    assert (one.eta, one.omega) == (pytest.approx(6 / 26), pytest.approx(3 * (one.f - 1) / (3 * (one.f - 1) + 64)))


def test_positions_that_cannot_be_told_apart_have_no_degrees_of_freedom():
    """attn2c goes with nothing but itself, and the residual positions only with each other: 13 of 15 are left."""
    frame = pd.DataFrame(PAIRS * 2, columns=["source", "target"]).assign(y=np.random.default_rng(1).normal(size=40))
    model = Model(frame, "y", [("source",), ("target",), ("source", "target")])
    found = {e.term: e.df for e in model.second()}
    assert found == {"source": 7, "target": 4, "source:target": 6}
    assert model.df_error == 20
    only = frame[frame["source"] == "attn2c"].assign(same=["u", "v"])
    told = Model(pd.concat([only] * 3), "y", [("same",), ("source",)]).second()
    assert [e.df for e in told] == [1, 0]
    assert math.isnan(told[1].f)


def test_a_design_in_which_nothing_happens_gives_uniform_p():
    from scipy.stats import kstest

    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        [(*p, s, b) for b in "uv" for p in PAIRS for s in (1, 4)], columns=["source", "target", "s", "block"]
    )
    found = {"source": [], "s": [], "source:s": [], "alone": [], "permuted": []}
    for i in range(150):
        frame["y"] = random.normal(size=len(frame)) + 3 * (frame["block"] == "u")
        model = Model(frame, "y", [("block",), ("source",), ("target",), ("s",), ("source", "s")])
        told = {e.term: e.p for e in model.second()}
        for term in ("source", "s", "source:s"):
            found[term].append(told[term])
        found["alone"].append(one_way((frame["y"] - 3 * (frame["block"] == "u")).tolist(), frame["source"].tolist()).p)
        if i < 60:
            y, levels, blocks = frame["y"].to_numpy(), frame["source"].tolist(), frame["block"].tolist()
            found["permuted"].append(permuted(y, levels, blocks, f"null {i}", 99))
    for name, p in found.items():
        assert kstest(p, "uniform").pvalue > 0.01, name


def test_checks_see_what_they_are_for():
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"x": ["a"] * 40 + ["b"] * 40, "block": ["u", "v"] * 40})
    frame["y"] = random.normal(size=80) * np.where(frame["x"] == "a", 1, 6)
    assert checks(frame, "x", "y", 199).levene < 0.001
    frame["y"] = random.normal(size=80) + 5 * (frame["block"] == "u") + 1.2 * (frame["x"] == "a")
    told = checks(frame, "x", "y", 199)
    assert told.levene > 0.05
    assert told.kruskal < 0.01
    assert told.permutation == pytest.approx(1 / 200)
