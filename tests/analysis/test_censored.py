"""The censored likelihood against statsmodels, scipy's own densities, and planted times."""

import itertools
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from analysis.censored import clustered, maximise, terms


@pytest.fixture
def data():
    """Rows of every kind: known, censored, between two times, before the first look."""
    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(60), rng.normal(0, 1, (60, 2))])
    y = design @ [1.0, -0.5, 0.7] + rng.normal(0, 0.4, 60)
    low, high = y.copy(), y.copy()
    late = y > 1.3
    low[late], high[late] = 1.3, np.inf
    between = ~late & (rng.random(60) < 0.3)
    low[between] -= 0.2
    high[between] += 0.1
    low[5], high[5] = -np.inf, y[5] + 0.5
    return design, low, high


def by_scipy(design, low, high, beta, sigma):
    """The log-likelihood by scipy's normal distribution."""
    exact, mean = low == high, design @ beta
    seen = stats.norm.logpdf(low[exact], mean[exact], sigma).sum()
    with np.errstate(invalid="ignore"):
        ends = [stats.norm.cdf(x[~exact], mean[~exact], sigma) for x in (low, high)]
    return seen + np.log(ends[1] - ends[0]).sum()


def test_the_maximum_is_scipy_s(data):
    found = maximise(*data)
    assert found.value == pytest.approx(by_scipy(*data, found.beta, found.sigma))
    start = np.append(found.beta * 0.8, np.log(found.sigma) + 0.3)
    truth = optimize.minimize(lambda t: -by_scipy(*data, t[:-1], np.exp(t[-1])), start, tol=1e-10)
    np.testing.assert_allclose(found.beta, truth.x[:-1], atol=1e-4)
    assert found.sigma == pytest.approx(np.exp(truth.x[-1]), rel=1e-4)
    assert np.abs(found.scores.sum(0)).max() < 1e-6


def test_scores_and_information_are_derivatives(data):
    theta, tiny = np.array([2.0, -1.0, 1.5, 3.0]), 1e-6
    _, scores, information = terms(*data, theta)
    up, down = ([terms(*data, theta + sign * tiny * e) for e in np.eye(4)] for sign in (1, -1))
    slope = [(u[0] - d[0]) / 2 / tiny for u, d in zip(up, down, strict=True)]
    bend = [(d[1].sum(0) - u[1].sum(0)) / 2 / tiny for u, d in zip(up, down, strict=True)]
    np.testing.assert_allclose(scores.sum(0), slope, rtol=1e-5)
    np.testing.assert_allclose(information.sum(0), bend, rtol=1e-4, atol=1e-4)


def test_without_censoring_it_is_least_squares(data):
    design, low, _ = data
    y = np.where(np.isfinite(low), low, 0.0)
    found, truth = maximise(design, y, y), sm.OLS(y, design).fit()
    np.testing.assert_allclose(found.beta, truth.params, rtol=1e-6)
    assert found.sigma == pytest.approx(np.sqrt(truth.ssr / len(y)), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (np.zeros(8), np.full(8, np.inf)),  # nothing was seen
        (np.r_[1.0, np.zeros(7)], np.r_[1.0, np.full(7, np.inf)]),  # too little was
        (np.arange(8.0), np.arange(8.0)),  # exactly on a line: no scatter to learn from
    ],
)
def test_what_has_no_maximum_is_none(low, high):
    design = np.column_stack([np.ones(8), np.arange(8.0)])
    assert maximise(design, low, high) is None


def planted(rng, seeds, top=1.0):
    """Log times of 4 × 4 cells, the highest censored."""
    grid = np.log(list(itertools.product(2.0 ** np.arange(4), repeat=2)))
    grid = grid - grid.mean(0)
    cell, seed = np.divmod(np.arange(16 * seeds), seeds)
    y = (grid @ [-1.0, 1.0])[cell] + rng.normal(0, 0.1, 16)[cell]
    y = y + rng.normal(0, 0.1, seeds)[seed] + rng.normal(0, 0.2, len(cell))
    design = np.column_stack([np.ones(len(cell)), grid[cell]])
    return design, np.minimum(y, top), np.where(y > top, np.inf, y), cell, seed


@pytest.mark.parametrize("seeds", [3, 8])
def test_intervals_cover(seeds):
    hits = []
    for k in range(60):
        *data, cell, seed = planted(np.random.default_rng(k), seeds)
        found = maximise(*data)
        spread = clustered(found, cell, seed)
        hits.append([spread.interval(found, np.array([0, 1.0, x])).holds(x - 1) for x in (0, 1)])
    assert (np.mean(hits, axis=0) >= 0.85).all()  # P(below | 95 %) = 0.1 %


def test_runs_of_a_cell_are_one_witness():
    # the same times ten times over tell nothing new
    design, low, high, cell, _ = planted(np.random.default_rng(1), 1)
    halves = []
    for copies in (1, 10):
        rows = [np.repeat(x, copies, axis=0) for x in (design, low, high, cell)]
        found = maximise(*rows[:3])
        alone = clustered(found, rows[3], np.zeros(len(rows[0])))
        halves.append(alone.interval(found, np.array([0, 1.0, 0])).half)
    assert halves[1] == pytest.approx(halves[0], rel=0.01)


def test_a_trial_step_far_into_a_tail_says_nothing_and_is_no_better():
    """There the exponent is lost to rounding: derivatives overflow, the likelihood is still low."""
    design, low, high = np.ones((2, 1)), np.array([0.0, 0.0]), np.array([0.5, 0.1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far, near = (terms(design, low, high, np.array([mean, 10.0]))[0] for mean in (1e10, 1.0))
    assert far < near
