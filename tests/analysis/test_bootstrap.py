"""The bootstrap against weighted least squares one draw at a time, and against known variances."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis import bootstrap
from analysis.crossed import least_squares


@pytest.fixture
def regression():
    rng = np.random.default_rng(3)
    design = np.column_stack([np.ones(14), rng.normal(0, 1, (14, 2))])
    return design, (design @ [1.0, 0.5, -0.3])[:, None] + rng.normal(0, 0.3, (14, 6))


def test_a_draw_is_weighted_least_squares(regression):
    design, table = regression
    drawn = bootstrap.weights(14, draws=3)
    found = bootstrap._fitted(design, table.mean(1), drawn, None)
    for weight, beta in zip(drawn, found, strict=True):
        truth = sm.WLS(table.mean(1), design, weights=weight).fit().params
        np.testing.assert_allclose(beta, truth, rtol=1e-8)


def test_absorbed_groups_are_as_good_as_columns(regression):
    design, table = regression
    groups = np.repeat([4, 1, 9], [4, 5, 5])
    whole = np.hstack([groups[:, None] == np.unique(groups), design[:, 1:]]).astype(float)
    drawn = bootstrap.weights(14, draws=5)
    ours = bootstrap._fitted(design[:, 1:], table.mean(1), drawn, groups)
    truth = bootstrap._fitted(whole, table.mean(1), drawn, None)
    np.testing.assert_allclose(ours, truth[:, -2:], rtol=1e-8)


@pytest.mark.parametrize(
    ("cell_sd", "run_sd", "least", "most"),
    [
        (0.3, 0.02, 0.7, 1.6),
        (0.0, 0.3, 1.0, 2.8),  # noise of runs is in the weights of both: never too narrow
    ],
)
def test_intervals_are_near_those_of_t_and_the_same_at_every_call(cell_sd, run_sd, least, most):
    rng = np.random.default_rng(1)
    design = np.column_stack([np.ones(24), rng.normal(0, 1, (24, 2))])
    table = rng.normal(0, cell_sd, (24, 1)) + rng.normal(0, run_sd, (24, 6))
    beta, variance = least_squares(design, table)
    unit = np.eye(3)[1:]
    found = bootstrap.intervals(design, table, unit, variance)
    assert found == bootstrap.intervals(design, table, unit, variance)
    for i, interval in enumerate(found, 1):
        assert interval.value == pytest.approx(beta[i])
        assert least < interval.half / variance.interval(beta[i], np.eye(3)[i]).half < most


@pytest.mark.parametrize("dof", [3.0, 7.0, 200.0])
def test_expanded_percentiles_of_a_mean_are_its_t_interval(dof):
    # the bootstrap's sd of a mean is too small by √(n/(n − 1)); the percentiles make up for it
    sd = np.sqrt(dof / (dof + 1))
    draws = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000) * sd
    found = bootstrap.expanded(draws, 0.0, dof)
    assert found.high == pytest.approx(stats.t.ppf(0.975, dof), rel=0.02)
