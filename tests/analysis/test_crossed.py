"""Cells × seeds: completion and variances against closed forms, numpy and statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.crossed import (
    MIN_SEEDS,
    UNKNOWN,
    Interval,
    Variance,
    complete,
    crossing,
    estimate,
    least_squares,
    method,
)
from tests.analysis.oracles import bell_mccaffrey


def holes(table, gone):
    """The table with entries missing."""
    table = table.copy()
    table[tuple(zip(*gone, strict=True))] = np.nan
    return table


def two_way_cell_means(table):
    """Least squares of cell + seed effects on what was observed; each cell averaged over seeds."""
    cell, seed = np.nonzero(np.isfinite(table))
    dummies = np.hstack([np.eye(table.shape[0])[cell], np.eye(table.shape[1])[seed]])
    effects = np.linalg.lstsq(dummies, table[cell, seed], rcond=None)[0]
    return effects[: len(table)] + effects[len(table) :].mean()


def as_frame(table):
    cell, seed = np.nonzero(np.isfinite(table))
    return pd.DataFrame({"cell": cell, "seed": seed, "y": table[cell, seed]})


@pytest.mark.parametrize(
    "gone",
    [
        [(0, 0)],
        [(0, 0), (0, 1), (3, 2)],  # a cell with two of four seeds lost
        [(c, 3) for c in range(5)],  # a seed that most cells lack
        [(0, 0), (1, 1), (2, 2), (3, 3)],
    ],
)
def test_completion_is_least_squares_of_the_additive_model(gone):
    # Healy & Westmacott's iteration ends where the two-way fit on the observed entries is
    table = np.random.default_rng(1).normal([3.0, 0, -2, 8], 1, (6, 4))
    table = holes(table, gone)
    full = complete(table)
    np.testing.assert_allclose(full.mean(1), two_way_cell_means(table), atol=1e-8)
    seen = np.isfinite(table)
    np.testing.assert_array_equal(full[seen], table[seen])


def test_completion_is_exact_on_an_additive_table():
    truth = np.arange(5.0)[:, None] + np.array([0.0, 10.0, -4.0])
    np.testing.assert_allclose(complete(holes(truth, [(0, 1), (4, 0)])), truth, atol=1e-9)


def test_a_lost_seed_does_not_shift_its_cell():
    # the plain mean of cell 0 would be 50 too low
    table = holes(np.tile([0.0, 100.0], (5, 1)), [(0, 1)])
    assert crossing(as_frame(table)).means == pytest.approx([50.0] * 5)


@pytest.mark.parametrize(
    ("gone", "crossed", "columns"),
    [
        ([], True, 5),
        ([(0, 0), (1, 1)], True, 5),  # 8 of 10: just enough
        ([(0, 0), (0, 1), (1, 2)], False, 1),
    ],
)
def test_at_least_four_fifths_must_be_seen_to_count_as_crossed(gone, crossed, columns):
    table = np.arange(10.0).reshape(2, 5)
    table = holes(table, gone) if gone else table
    found = crossing(as_frame(table))
    assert (found.crossed, found.table.shape) == (crossed, (2, columns))
    assert (found.seeds, found.observed) == (5, 10 - len(gone))
    if not crossed:
        assert found.means == pytest.approx(np.nanmean(table, axis=1))


def test_seeds_of_their_own_for_each_cell_are_averaged():
    frame = pd.DataFrame({"cell": [0, 0, 1, 1], "seed": [1, 2, 3, 4], "y": [0.0, 2.0, 4.0, 6.0]})
    found = crossing(frame)
    assert not found.crossed
    assert found.means.tolist() == [1.0, 5.0]
    assert "the seeds count as given" in method(found)


def test_no_row_is_no_cell():
    found = crossing(pd.DataFrame({"cell": [], "seed": [], "y": []}))
    assert (found.table.shape, found.seeds, len(found.means)) == ((0, 1), 0, 0)


@pytest.fixture
def regression():
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (14, 2))
    design = np.column_stack([np.ones(14), x])
    return design, (x @ [0.5, -0.3])[:, None] + rng.normal(0, 0.3, (14, 3))


def test_below_five_seeds_it_is_hc2_on_cell_means(regression):
    design, table = regression
    beta, variance = least_squares(design, table)
    oracle = sm.OLS(table.mean(1), design).fit(cov_type="HC2", use_t=True)
    np.testing.assert_allclose(beta, oracle.params, rtol=1e-10)
    np.testing.assert_allclose(variance.total, oracle.cov_params(), rtol=1e-8)
    for i, unit in enumerate(np.eye(3)):
        half = stats.t.ppf(0.975, bell_mccaffrey(design, unit)) * oracle.bse[i]
        assert variance.interval(beta[i], unit).half == pytest.approx(half, rel=1e-8)


def test_the_wald_test_is_statsmodels(regression):
    design, table = regression
    beta, variance = least_squares(design, table)
    oracle = sm.OLS(table.mean(1), design).fit(cov_type="HC2", use_t=True)
    for which in ([1], [1, 2]):
        value = float(oracle.wald_test(np.eye(3)[which], use_f=True, scalar=True).statistic)
        dof = min(bell_mccaffrey(design, np.eye(3)[i]) for i in which)
        p = stats.f.sf(value, len(which), dof)
        assert variance.p_zero(beta, which) == pytest.approx(float(p), rel=1e-6)


@pytest.mark.parametrize("seeds", [3, 6])
def test_absorbed_intercepts_are_as_good_as_columns(regression, seeds):
    rng = np.random.default_rng(0)
    groups = np.array([7, 7, 7, 2, 2, 2, 2, 5, 5, 5, 9, 9, 9, 9])
    x, table = regression[0][:, 1:], rng.normal(0, 1, (14, seeds))
    dummies = (groups[:, None] == np.unique(groups)).astype(float)
    whole, truth = least_squares(np.hstack([dummies, x]), table)
    beta, variance = least_squares(x, table, groups)
    np.testing.assert_allclose(beta, whole[-2:], rtol=1e-10)
    np.testing.assert_allclose(variance.total, truth.total[-2:, -2:], rtol=1e-8)
    rows, padded = np.array([[1.0, 0.0], [0.3, -2.0]]), np.zeros((2, 6))
    padded[:, -2:] = rows
    np.testing.assert_allclose(variance.dof(rows), truth.dof(padded), rtol=1e-8)


def test_where_only_seeds_vary_it_is_the_t_interval_of_their_slopes():
    # every seed lies exactly on a line of its own: K slopes, nothing else to learn from
    x, slopes = np.linspace(-1, 1, 7), np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.4])
    design = np.column_stack([np.ones(7), x])
    beta, variance = least_squares(design, x[:, None] * slopes)
    ours = variance.interval(beta[1], np.array([0.0, 1.0]))
    oracle = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high))
    found = estimate(float(beta[1]), variance, np.array([0.0, 1.0]))
    assert (found.interval, found.seed_share) == (ours, pytest.approx(1.0))


def test_noise_of_runs_is_not_counted_twice():
    # with run noise alone the truth is σ²/(K Σx²); both parts carry it, one must be freed of it
    rng, x, seeds, sd = np.random.default_rng(5), np.linspace(-1, 1, 12), 8, 0.4
    design = np.column_stack([np.ones(12), x])
    totals = [
        least_squares(design, rng.normal(0, sd, (12, seeds)))[1].total[1, 1] for _ in range(300)
    ]
    truth = sd**2 / seeds / (x @ x)
    assert 0.9 < np.mean(totals) / truth < 1.45  # twice would be 2.1


def ten_dof():
    """Eleven cells and their mean."""
    return least_squares(np.ones((11, 1)), np.arange(11.0)[:, None])[1].residuals


@pytest.mark.parametrize(
    ("cells", "seeds", "dof"),
    [
        (1.0, 0.0, 10.0),  # one part alone keeps its own
        (0.0, 1.0, 4.0),
        (1.0, 1.0, 4 / (1 / 10 + 1 / 4)),  # Satterthwaite
    ],
)
def test_degrees_of_freedom(cells, seeds, dof):
    variance = Variance(np.array([[cells]]), np.array([[seeds]]), ten_dof(), 4)
    half = stats.t.ppf(0.975, dof) * math.sqrt(cells + seeds)
    assert variance.interval(2.0, np.ones(1)).half == pytest.approx(half)


@pytest.mark.parametrize(("beta", "p"), [(1.0, 0.0), (0.0, 1.0)])
def test_without_any_scatter_the_estimate_alone_decides(beta, p):
    zero = np.zeros((1, 1))
    assert Variance(zero, zero, ten_dof(), 4).p_zero(np.array([beta]), [0]) == p


@pytest.mark.parametrize(
    ("seeds", "words"),
    [(MIN_SEEDS, "seeds crossed with cells"), (MIN_SEEDS - 1, "the seeds count as given")],
)
def test_the_method_is_named(seeds, words):
    assert words in method(crossing(as_frame(np.zeros((3, seeds)))))


def test_interval():
    assert Interval(1.0, 0.5, 2.0).half == 0.75
    assert [Interval(1.0, 0.5, 2.0).holds(x) for x in (0.4, 0.5, 2.0, 2.1)] == [0, 1, 1, 0]
    assert not UNKNOWN.holds(0.0)
