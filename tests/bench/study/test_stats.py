"""bench.study.stats against scipy, statsmodels and scikit-posthocs, and against the truth in simulations."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle

from bench.study import stats


def groups(n: int, seeds: int = 1, spread: float = 0.1, noise: float = 0.03, at: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(at)
    return [random.normal(0, spread) + random.normal(0, noise, seeds) for _ in range(n)]


def table(**rows: list[list[float]]) -> pd.DataFrame:
    """row name -> tasks x seeds, as a tidy frame with the column `score`."""
    lines = [
        (row, f"t{i:02d}", seed, x)
        for row, tasks in rows.items()
        for i, seeds in enumerate(tasks)
        for seed, x in enumerate(seeds)
    ]
    return pd.DataFrame(lines, columns=["row", "task", "seed", "score"])


# --- intervals ----------------------------------------------------------------------------------------------------


def test_seeds_are_averaged_inside_tasks_first():
    seen = stats.estimate([np.array([0.0, 0.0, 0.0]), np.array([1.0])])
    assert seen.value == 0.5
    assert (seen.tasks, seen.runs) == (2, 4)


@pytest.mark.parametrize(("n", "seeds"), [(3, 1), (6, 3), (12, 2)])
def test_width_is_that_of_the_exact_bootstrap_variance(n, seeds):
    """The variance of a two-stage bootstrap mean is known: that of the task means, plus that inside tasks, over n."""
    given = groups(n, seeds)
    means, inside = np.array([g.mean() for g in given]), np.mean([g.var() / len(g) for g in given])
    half = oracle.t.ppf(0.975, n - 1) * np.sqrt((means.var() + inside) / n * n / (n - 1))
    assert stats.estimate(given).half == pytest.approx(half, rel=0.04)


def test_with_one_seed_it_is_the_t_interval():
    given = groups(8)
    low, high = oracle.t.interval(0.95, 7, np.mean(given), oracle.sem(np.ravel(given)))
    seen = stats.estimate(given)
    assert (seen.low, seen.high) == pytest.approx((low, high), abs=0.004)


@pytest.mark.parametrize("n", [2, 4])
def test_covers_the_truth_where_percentiles_would_not(n):
    """Few tasks: 95 % intervals must hold the true mean in about 95 % of worlds."""
    held = [abs(stats.estimate(groups(n, at=i), draws=300).value) <= stats.estimate(groups(n, at=i), draws=300).half
            for i in range(400)]  # fmt: skip
    assert 0.92 <= np.mean(held) <= 0.98


def test_iqm_is_the_trimmed_mean_of_task_means():
    given = groups(9, 2)
    means = [g.mean() for g in given]
    assert stats.estimate(given, "iqm").value == pytest.approx(oracle.trim_mean(means, 0.25))
    assert stats.estimate(given, "iqm").value != pytest.approx(np.mean(means))
    with pytest.raises(ValueError, match="statistic"):
        stats.estimate(given, "median")


def test_one_task_has_no_interval_and_says_so():
    seen = stats.estimate([np.array([0.1, 0.3])])
    assert seen.value == pytest.approx(0.2)
    assert np.isnan(seen.low)
    assert "one task" in seen.note
    assert stats.estimate([]).note == "no value"
    assert stats.estimate(groups(2)).note == ""


def test_same_stream_same_numbers():
    given = groups(5, 3)
    assert stats.estimate(given, name="a") == stats.estimate(given, name="a")
    assert stats.estimate(given, name="a").low != stats.estimate(given, name="b").low


def test_resampling_stays_inside_a_task():
    """Tasks with seeds far apart: every resampled task mean is one of the task's own possible means."""
    drawn = stats.resample([np.array([1.0, 2.0]), np.array([10.0])], 200, np.random.default_rng(0))
    assert drawn.shape == (200, 2)
    assert set(np.unique(drawn)) == {1.0, 1.5, 2.0, 10.0}


# --- tests --------------------------------------------------------------------------------------------------------


def test_t_and_wilcoxon_are_scipys():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 9))
    assert stats.t_test(a - b) == pytest.approx(oracle.ttest_rel(a, b).pvalue)
    assert stats.wilcoxon_test(a - b) == pytest.approx(np.asarray(oracle.wilcoxon(a, b))[1])


def test_flip_test_is_scipys_exact_permutation_test():
    d = np.random.default_rng(2).normal(0.4, 1, 7)
    exact = oracle.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=10**6).pvalue
    assert stats.flip_test(d) == pytest.approx(exact)


def test_flip_test_by_drawing_is_near_the_exact_one(monkeypatch):
    d = np.random.default_rng(3).normal(0.5, 1, 12)
    exact = stats.flip_test(d)
    monkeypatch.setattr(stats, "EXACT", 4)
    drawn = stats.flip_test(d)
    assert drawn == pytest.approx(exact, abs=0.01)
    assert drawn == stats.flip_test(d)


def test_flip_test_has_a_floor():
    assert stats.flip_test([1.0, 1.1, 0.9, 1.2, 1.0]) == 2 / 2**5


@pytest.mark.parametrize("test", [stats.t_test, stats.flip_test, stats.wilcoxon_test])
def test_no_difference_no_evidence(test):
    assert test([0.0] * 5) == 1.0
    assert np.isnan(test([0.3]))


def test_equal_shift_everywhere_is_evidence_for_t():
    assert stats.t_test([0.1] * 4) == 0.0


@pytest.mark.parametrize("test", [stats.t_test, stats.flip_test])
def test_p_is_uniform_where_there_is_no_effect(test):
    random = np.random.default_rng(4)
    p = np.array([test(random.normal(size=8)) for _ in range(600)])
    assert oracle.kstest(p, "uniform").pvalue > 0.01
    for level in (0.05, 0.1, 0.3):
        assert np.mean(p <= level) == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 600))


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for m in (1, 2, 7, 20):
        p = np.random.default_rng(m).uniform(size=m) ** 3
        assert stats.holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_holm_leaves_missing_tests_out():
    assert stats.holm([0.01, np.nan, 0.04])[[0, 2]] == pytest.approx(stats.holm([0.01, 0.04]))
    assert np.isnan(stats.holm([0.01, np.nan, 0.04])[1])


def test_all_pairs_with_holm_are_scikit_posthocs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posthocs = pytest.importorskip("scikit_posthocs")
        random = np.random.default_rng(5)
        scores = random.normal(size=(4, 10)) + np.arange(4)[:, None] * 0.5
        expected = posthocs.posthoc_wilcoxon(list(scores), p_adjust="holm").to_numpy()
    names = list("abcd")
    found = stats.pairs(table(**{k: [[x] for x in s] for k, s in zip(names, scores, strict=True)}), names, "score")
    adjusted = stats.holm(found["p_wilcoxon"].tolist())
    for (i, j), p in zip(itertools.combinations(range(4), 2), adjusted, strict=True):
        assert p == pytest.approx(expected[i, j])


def test_pairs_use_only_common_blocks():
    frame = table(a=[[1, 9], [1, 9]], b=[[0], [0]])  # a has a second seed that b never met
    line = stats.pairs(frame, ["a", "b"], "score").iloc[0]
    assert line["difference"] == 1
    assert line["tasks"] == 2


# --- ranks and ties -----------------------------------------------------------------------------------------------


def decided(rows: str, *wins: str) -> pd.DataFrame:
    """A table of pairs in which each "ab" of `wins` is significant, a before b."""
    lines = []
    for a, b in itertools.combinations(rows, 2):
        d = 1.0 if a + b in wins else -1.0 if b + a in wins else 0.0
        lines.append((a, b, d, 0.001 if d else 0.7))
    return pd.DataFrame(lines, columns=["a", "b", "difference", "p_holm"])


def test_nothing_shown_leaves_every_rank_open():
    assert stats.rank_intervals(list("abc"), decided("abc")) == {k: (1, 3) for k in "abc"}
    assert stats.tie_groups(list("abc"), decided("abc")) == dict.fromkeys("abc", "a")


def test_everything_shown_gives_one_rank_each():
    table = decided("abc", "ab", "bc", "ac")
    assert stats.rank_intervals(list("abc"), table) == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert stats.tie_groups(list("abc"), table) == {"a": "a", "b": "b", "c": "c"}


def test_only_the_ends_differ():
    table = decided("abc", "ac")
    assert stats.rank_intervals(list("abc"), table) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}
    assert stats.tie_groups(list("abc"), table) == {"a": "a", "b": "ab", "c": "b"}


def test_the_winner_may_be_listed_second():
    assert stats.rank_intervals(list("ab"), decided("ab", "ba")) == {"a": (2, 2), "b": (1, 1)}


@pytest.mark.parametrize("seed", range(8))
def test_letters_are_shared_exactly_by_ties(seed):
    random = np.random.default_rng(seed)
    rows = "abcdefg"
    wins = [a + b for a, b in itertools.combinations(rows, 2) if random.random() < 0.4]
    letters = stats.tie_groups(list(rows), decided(rows, *wins))
    for a, b in itertools.combinations(rows, 2):
        assert bool(set(letters[a]) & set(letters[b])) == (a + b not in wins), (a, b, letters)


def test_rank_intervals_hold_the_true_order():
    """Simultaneous: in at most about 5 % of worlds does any interval miss the true rank."""
    misses = 0
    for world in range(60):
        random = np.random.default_rng(world)
        truth = np.array([0.3, 0.2, 0.1, 0.0])
        task = random.normal(0, 0.2, 6)
        rows = {k: [[t + x + random.normal(0, 0.1)] for x in task] for k, t in zip("abcd", truth, strict=True)}
        found = stats.rank_intervals(list("abcd"), stats.pairs(table(**rows), list("abcd"), "score"))
        misses += any(not low <= i + 1 <= high for i, (low, high) in enumerate(found.values()))
    assert misses <= 6


def test_chance_better_counts_blocks_and_half_ties():
    frame = table(a=[[1, 1], [0, 0], [2, 0]], b=[[0, 0], [0, 0], [1, 1]])
    seen = stats.chance_better(frame, "a", "b", "score")
    assert seen.value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert 0 <= seen.low < seen.value < seen.high <= 1


def test_winning_everywhere_is_not_certainty():
    frame = table(a=[[1], [1], [1]], b=[[0], [0], [0]])
    seen, other = (stats.chance_better(frame, *pair, "score") for pair in (("a", "b"), ("b", "a")))
    assert (seen.value, other.value) == (1, 0)
    assert seen.low == pytest.approx(oracle.binomtest(3, 3).proportion_ci(method="exact").low)
    assert other.high == pytest.approx(1 - seen.low)
