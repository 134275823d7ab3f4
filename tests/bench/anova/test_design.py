from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.anova.design import aliases, cells, contrasts, efficiency, forms, grid, replicates, seconds
from bench.core.errors import LitmusError
from bench.protocol.models import Anova
from bench.study.anova_paper import SIMILARITY

PAIRS = tuple(SIMILARITY)[:9]
BLOCKS = [("toy", task, seed) for seed in (0, 1) for task in ("subject-a", "style-b")]
FACTORS = Anova(activations=("relu", "identity"), scales=(1.0, 4.0))


@pytest.fixture(scope="module")
def whole():
    return cells(FACTORS, PAIRS, BLOCKS, 16)


@pytest.mark.parametrize(
    ("text", "value"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45 min", 2700), ("0.5h", 1800)]
)
def test_budgets_in_words(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "2", "2d"])
def test_a_budget_that_cannot_be_read(text):
    with pytest.raises(LitmusError, match="write 2h, 90m or 1h30m"):
        seconds(text)


def test_a_budget_buys_whole_replicates():
    assert replicates(FACTORS, 20, 8, "") == 32
    assert replicates(FACTORS, 20, 8, "40m", 14) == 8
    assert replicates(FACTORS, 20, 8, "100h", 14) == 32
    with pytest.raises(LitmusError, match="one replicate of 20 cells takes about 5 min"):
        replicates(FACTORS, 20, 8, "2m", 14)


def test_all_replicates_are_the_full_grid_once(whole):
    def plain(found):
        return Counter((c.pair, c.activation, c.scale, c.task, c.seed) for c in found)

    assert plain(whole) == plain(grid(FACTORS, PAIRS, BLOCKS))
    assert set(plain(whole).values()) == {1}
    assert efficiency(whole, grid(FACTORS, PAIRS, BLOCKS)) == pytest.approx((1, 1))


def test_a_prefix_is_the_same_and_balanced(whole):
    for n in (1, 4, 8):
        part = cells(FACTORS, PAIRS, BLOCKS, n)
        assert part == whole[: n * len(PAIRS)]
        assert set(Counter(c.pair for c in part).values()) == {n}
        levels = Counter(c.activation for c in part), Counter(c.scale for c in part)
        assert all(max(x.values()) - min(x.values()) <= 2 for x in levels)
    assert set(Counter((c.pair, c.activation) for c in whole[: 8 * len(PAIRS)]).values()) <= {3, 4, 5}


def test_the_rule_beats_chance(whole):
    """A quarter chosen by the rule is better than the mean of quarters drawn at random, and better than the worst."""
    full = grid(FACTORS, PAIRS, BLOCKS)
    ours = efficiency(whole[: 8 * len(PAIRS)], full)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(10):
        some = []
        for block in BLOCKS * 2:
            for pair in PAIRS:
                own = [c for c in full if c.block == block and (c.source, c.target) == pair]
                some.append(own[random.integers(len(own))])
        drawn.append(efficiency(some, full)[0])
    assert ours[0] > max(drawn)
    assert ours[0] > 0.98


def test_aliases(whole):
    assert not {k: v for k, v in aliases(whole).items() if any(s > 0.01 for s in v.values())}
    part = aliases(whole[: 4 * len(PAIRS)])
    assert part["pair:task"]
    one = [c for c in whole if (c.activation == "relu") == (c.scale == 1.0)]  # the two cannot be told apart
    assert aliases(one)["activation"]["scale"] == pytest.approx(1)


def test_contrasts_are_orthogonal():
    for n in (2, 3, 7):
        c = contrasts(n)
        assert c.shape == (n, n - 1)
        np.testing.assert_allclose(c.T @ c, n * np.eye(n - 1), atol=1e-9)
        np.testing.assert_allclose(c.sum(0), 0, atol=1e-9)
    assert contrasts(1).shape == (1, 0)
    assert len(forms(FACTORS)) == 4
