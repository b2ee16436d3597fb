"""Spread within and across ratios, against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.spread import spread
from tests.analysis.planted import planted_points


def exact(a, b, lr=(0.02, 0.04, 0.08), batch=(8, 16, 32)):
    rng = np.random.default_rng(0)
    scatter = {"seed_sd": 0.0, "cell_sd": 0.0, "run_sd": 0.0}
    return planted_points(rng, np.array(lr), np.array(batch), 2, a=a, b=b, **scatter)


def test_a_perfect_collapse_has_no_spread_at_equal_ratio():
    # five ratios, a factor 2 apart: y rises by 0.7·log 2 each
    found = spread(exact(0.7, -0.7))
    assert found.within == pytest.approx(0.0, abs=1e-9)
    assert found.across == pytest.approx(0.7 * math.log(2) * np.std(np.arange(5), ddof=1))
    assert (found.families, found.cells) == (3, 9)
    assert found.spearman > 0.97  # 1 but for ties that rounding breaks


def test_a_law_of_the_rate_alone_spreads_at_equal_ratio():
    # families of 2, 3 and 2 cells with y = 0, 1, … log 2: squares ½ + 2 + ½ over 4 degrees
    found = spread(exact(1.0, 0.0))
    assert found.within == pytest.approx(math.log(2) * math.sqrt(3 / 4))


def test_the_rank_correlation_is_scipy_s():
    chosen = planted_points(np.random.default_rng(2), np.array([0.1, 0.2, 0.3]), np.arange(2, 9), 1)
    truth = stats.spearmanr(chosen.frame["ratio_group"], chosen.frame["y"]).statistic
    assert spread(chosen).spearman == pytest.approx(truth)


@pytest.mark.parametrize(
    ("lr", "batch", "known"),
    [((0.1,), (8, 16), (False, True)), ((0.1, 0.2), (8, 16), (True, True)), ((0.1,), (8,), (0, 0))],
)
def test_nothing_to_compare_is_not_a_spread_of_0(lr, batch, known):
    found = spread(exact(0.7, -0.7, lr, batch))
    assert (math.isfinite(found.within), math.isfinite(found.across)) == known
