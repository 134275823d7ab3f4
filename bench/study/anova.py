"""Analysis of variance: one factor at a time as in the paper, and the factorial model with blocks and interactions.

Terms are tuples of factors: ("source",) a main effect, ("source", "activation") an interaction. Factors are coded to
sum to zero. The legal pairs are not a full crossing of inputs and outputs (attn2c goes with nothing but itself),
so every sum of squares is a difference of two fitted models and its degrees of freedom a difference of their ranks;
what cannot be told apart then has none, instead of a number that hangs on the coding.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.core.rng import numpy_rng
from bench.study import Frame
from bench.study.stats import LEVEL

Term = tuple[str, ...]
PERMUTATIONS = 2000


@dataclass(frozen=True)
class Effect:
    """One line of an analysis of variance.

    eta and omega are partial (the share of a term in itself and the error); `low` and `high` bound the share in the
    population, lambda / (lambda + df + df_error + 1), by the noncentral F distribution (Steiger, "Beyond the F Test",
    Psychological Methods 9 (2004)). df 0: the term cannot be told apart from the others, and nothing else is known.
    """

    term: str
    df: int
    df_error: int
    ss: float
    f: float
    p: float
    eta: float
    omega: float
    low: float
    high: float


def effect(term: str, ss: float, df: int, ss_error: float, df_error: int) -> Effect:
    """The line of a term from its sums of squares."""
    if df < 1 or df_error < 1:
        return Effect(term, max(df, 0), max(df_error, 0), ss, *[math.nan] * 6)
    from scipy.stats import f as law

    within = ss_error / df_error
    exact = ss_error <= 1e-12 * (ss + ss_error)  # what rounding leaves over is no error
    f = math.inf if exact else (ss / df) / within
    eta = 1.0 if exact else ss / (ss + ss_error)
    omega = max(0.0, df * (f - 1) / (df * (f - 1) + df + df_error + 1)) if math.isfinite(f) else 1.0
    return Effect(term, df, df_error, ss, f, float(law.sf(f, df, df_error)), eta, omega, *shares(f, df, df_error))


def shares(f: float, df: int, df_error: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a population's share of variance, from an observed F."""
    if not math.isfinite(f):
        return 1.0, 1.0
    from scipy.optimize import brentq
    from scipy.stats import f as central
    from scipy.stats import ncf

    def bound(p: float) -> float:
        """The share of the lambda under which F stays below what was seen with probability p."""
        if central.cdf(f, df, df_error) <= p:
            return 0.0
        high = 10.0 + 4 * f * df
        while ncf.cdf(f, df, df_error, high) > p:
            high *= 2
        found = float(brentq(lambda x: ncf.cdf(f, df, df_error, x) - p, 1e-9, high))  # type: ignore[arg-type]
        return found / (found + df + df_error + 1)

    return bound((1 + level) / 2), bound((1 - level) / 2)


# --- one factor, as in the paper ----------------------------------------------------------------------------------


def one_way(values: Sequence[float], levels: Sequence[object], term: str = "") -> Effect:
    """F = MSB / MSE over groups, nothing else in the model: the paper's form."""
    y, names = np.asarray(values, float), list(levels)
    groups = [y[[name == level for name in names]] for level in dict.fromkeys(names)]
    between = sum(len(g) * (g.mean() - y.mean()) ** 2 for g in groups)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    return effect(term, float(between), len(groups) - 1, float(within), len(y) - len(groups))


@dataclass(frozen=True)
class Checks:
    """What the F of a factor leans on, and tests that lean on less: p values, with each block's mean removed.

    levene        equal spread in all levels (Brown and Forsythe's form, about medians)
    kruskal       Kruskal and Wallis on ranks
    permutation   share of shufflings within blocks whose F is at least the one seen
    """

    term: str
    levene: float
    kruskal: float
    permutation: float


def checks(frame: Frame, factor: str, column: str, draws: int = PERMUTATIONS) -> Checks:
    """Assumptions of one factor, on a frame with the columns `factor`, `column` and block."""
    from scipy.stats import kruskal, levene

    y = frame[column].to_numpy(float)
    blocks, levels = frame["block"].tolist(), frame[factor].tolist()
    centred = y - projected(coded(blocks, whole=True), y)
    groups = [centred[[name == level for name in levels]] for level in dict.fromkeys(levels)]
    several = [g for g in groups if len(g) > 2]  # two values lie equally far from their median, whatever they are
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = float(levene(*several, center="median").pvalue) if len(several) > 1 else math.nan
    ranks = float(kruskal(*groups).pvalue) if np.ptp(centred) > 0 else 1.0
    return Checks(factor, alike, ranks, permuted(centred, levels, blocks, factor, draws))


def permuted(y: np.ndarray, levels: Sequence[object], blocks: Sequence[object], name: str, draws: int) -> float:
    """p of the permutation F: the response is shuffled inside each block, so blocks may differ as they like."""
    base = coded(blocks, whole=True)
    factor = coded(levels)
    q = basis(factor - np.stack([projected(base, c) for c in factor.T], 1)) if factor.shape[1] else factor
    if not q.shape[1]:
        return math.nan
    random = numpy_rng("permuted", name, draws)
    index = np.tile(np.arange(len(y)), (draws, 1))
    for block in dict.fromkeys(blocks):
        own = np.array([b == block for b in blocks])
        index[:, own] = random.permuted(index[:, own], axis=1)
    seen = ((q.T @ y) ** 2).sum()
    # The total about the blocks is the same in every shuffling, so F grows with the share that the factor takes.
    drawn = ((y[index] @ q) ** 2).sum(1)
    return float((1 + (drawn >= seen * (1 - 1e-9)).sum()) / (1 + draws))


# --- coding and projections ---------------------------------------------------------------------------------------


def coded(levels: Sequence[object], whole: bool = False) -> np.ndarray:
    """(n, k-1) columns that sum to zero over levels, or with `whole` one column per level (n, k)."""
    names = list(dict.fromkeys(levels))
    table = np.array([[level == name for name in names] for level in levels], float).reshape(len(levels), len(names))
    return table if whole else table[:, :-1] - table[:, -1:]


def projected(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The part of y (n,) in the columns of x."""
    q = basis(x)
    return q @ (q.T @ y)


def basis(x: np.ndarray) -> np.ndarray:
    """Orthonormal columns of the space of x."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-9 * max(1.0, s.max(initial=0.0))]


# --- the factorial model ------------------------------------------------------------------------------------------


class Model:
    """A linear model of `column` on `terms` by least squares, on a frame with a column per factor."""

    def __init__(self, frame: Frame, column: str, terms: Iterable[Term]):
        self.frame, self.column, self.terms = frame, column, list(dict.fromkeys(terms))
        self.levels = {f: list(dict.fromkeys(frame[f].tolist())) for term in self.terms for f in term}
        self.y = frame[column].to_numpy(float)
        self.blocks = {term: self._columns(frame, term) for term in self.terms}
        self.x = self._matrix(self.terms)
        self.df_error, self.ss_error = self.free(self.terms)

    @cached_property
    def fit(self) -> Any:
        """statsmodels' fit by the pseudo-inverse: what can be estimated is the same whatever else cannot."""
        import statsmodels.api as sm

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The design matrix is rank-deficient")
            return sm.OLS(self.y, self.x).fit()

    def _columns(self, frame: Frame, term: Term) -> np.ndarray:
        """The columns of a term for the rows of any frame, in the coding of the model's own levels."""
        out = np.ones((len(frame), 1))
        for factor in term:
            names = self.levels[factor]
            table = np.array([[level == name for name in names] for level in frame[factor].tolist()], float)
            table = table.reshape(len(frame), len(names))
            one = table[:, :-1] - table[:, -1:]
            out = (out[:, :, None] * one[:, None, :]).reshape(len(frame), -1)
        return out

    def _matrix(self, terms: Sequence[Term]) -> np.ndarray:
        return np.hstack([np.ones((len(self.y), 1)), *(self.blocks[term] for term in terms)])

    def free(self, terms: Sequence[Term]) -> tuple[int, float]:
        """Degrees of freedom and sum of squares that a model of `terms` leaves over."""
        q = basis(self._matrix(terms))
        rest = self.y - q @ (q.T @ self.y)
        return len(self.y) - q.shape[1], float(rest @ rest)

    def _compare(self, term: Term, without: Sequence[Term]) -> Effect:
        small, big = self.free(without), self.free([*without, term])
        return effect(":".join(term), small[1] - big[1], small[0] - big[0], self.ss_error, self.df_error)

    def second(self) -> list[Effect]:
        """Type II: each term after all that do not contain it. The error is the whole model's."""
        return [self._compare(t, [o for o in self.terms if o != t and not set(t) < set(o)]) for t in self.terms]

    def third(self) -> list[Effect]:
        """Type III: each term after all others, in the coding that sums to zero."""
        return [self._compare(t, [o for o in self.terms if o != t]) for t in self.terms]

    @property
    def residuals(self) -> np.ndarray:
        return np.asarray(self.fit.resid)

    def means(self, by: Sequence[str], over: Frame) -> Means:
        """Least-squares means of the levels of `by`: predictions for the rows of `over` (the grid), averaged evenly.

        What a fraction or a lost run left out is filled in by the model, so that levels are compared on equal terms.
        """
        x = np.hstack([np.ones((len(over), 1)), *(self._columns(over, term) for term in self.terms)])
        names = list(zip(*(over[f].tolist() for f in by), strict=True))
        levels = list(dict.fromkeys(names))
        rows = np.stack([x[[name == level for name in names]].mean(0) for level in levels])
        cover = rows @ np.asarray(self.fit.normalized_cov_params) @ rows.T * (self.ss_error / max(self.df_error, 1))
        known = basis(self.x.T)  # of the row space: what can be estimated at all lies in it
        lost = np.linalg.norm(rows - rows @ known @ known.T, axis=1) > 1e-6 * np.linalg.norm(rows, axis=1)
        values = np.where(lost, np.nan, rows @ np.asarray(self.fit.params))
        return Means(tuple(by), levels, values, cover, self.df_error)


@dataclass(frozen=True)
class Means:
    """Least-squares means: `values` (k,) of `levels`, their covariance (k, k) and the error's degrees of freedom."""

    by: tuple[str, ...]
    levels: list[tuple]
    values: np.ndarray
    cover: np.ndarray
    df: int

    def half(self, level: float = LEVEL) -> np.ndarray:
        """Half the width of each mean's interval."""
        from scipy.stats import t

        return np.sqrt(np.clip(np.diag(self.cover), 0, None)) * float(t.ppf((1 + level) / 2, self.df))

    def value(self, *level: object) -> float:
        return float(self.values[self.levels.index(level)])

    def order(self) -> list[int]:
        """Places of the levels, best mean first; unknown ones last."""
        return sorted(range(len(self.levels)), key=lambda i: (math.isnan(self.values[i]), -self.values[i]))


def tukey(means: Means) -> Frame:
    """All pairs of levels by Tukey's and Kramer's test: columns a, b, difference, low, high, p (for all at once)."""
    import pandas as pd
    from scipy.stats import studentized_range

    k = len(means.levels)
    width = float(studentized_range.ppf(LEVEL, k, means.df)) if k > 1 and means.df > 0 else math.nan
    lines = []
    for i, j in itertools.combinations(range(k), 2):
        difference = float(means.values[i] - means.values[j])
        variance = float(means.cover[i, i] + means.cover[j, j] - 2 * means.cover[i, j])
        spread = math.sqrt(max(variance, 0) / 2)
        q = abs(difference) / spread if spread > 0 else math.inf
        p = float(studentized_range.sf(q, k, means.df)) if math.isfinite(q) and means.df > 0 else math.nan
        half = width * spread
        lines.append((means.levels[i], means.levels[j], difference, difference - half, difference + half, p))
    return pd.DataFrame(lines, columns=["a", "b", "difference", "low", "high", "p"])
