"""The slope at equal ratio against statsmodels with a dummy for every family."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.crossed import crossing
from analysis.equalratio import equal_ratio
from analysis.laws import Verdict, fit
from tests.analysis.planted import planted_points

LR, BATCH = 0.02 * 2.0 ** np.arange(4), 8 * 2 ** np.arange(4)


def planted(rng=0, lr=LR, batch=BATCH, seeds=3, **how):
    return planted_points(np.random.default_rng(rng), lr, batch, seeds, **how)


def slope(chosen):
    return equal_ratio(crossing(chosen.frame), effective=False, resample=False)


@pytest.mark.parametrize("noise", [(0.0,), (0.0, 0.3)])
def test_it_is_least_squares_with_an_intercept_a_family(noise):
    chosen = planted(noise=noise)
    cells = chosen.frame.groupby("cell").agg(
        {"y": "mean", "batch_size": "first", "ratio_group": "first", "label_noise": "first"})
    cells = cells[cells.groupby(["ratio_group", "label_noise"])["y"].transform("size") > 1]
    codes = cells.groupby(["ratio_group", "label_noise"]).ngroup().to_numpy()
    size = np.log(cells["batch_size"].to_numpy())
    size = size - size.mean()
    columns = [size] if len(noise) == 1 else [cells["label_noise"] * size, size]
    design = np.column_stack([codes[:, None] == np.unique(codes), *columns]).astype(float)
    truth = sm.OLS(cells["y"].to_numpy(), design).fit(cov_type="HC2")
    found = slope(chosen)
    assert found.slope.interval.value == pytest.approx(truth.params[-1])
    assert found.slope.of_cells == pytest.approx(truth.bse[-1] ** 2)
    assert found.cells == len(cells)


def test_a_bend_along_the_ratio_does_not_widen_it():
    # the case that it is for: the free law takes the bend for scatter
    straight, bent = (fit(planted(cell_sd=0.02, bend=x, lr=0.02 * 2.0 ** np.arange(6)))
                      for x in (0.0, 0.3))
    assert bent.basis == "equal ratio"
    assert bent.total.half == pytest.approx(straight.total.half)
    assert bent.sums["free law"].interval.half > 3 * bent.total.half
    assert bent.verdict is Verdict.HOLDS


def test_a_metric_with_an_optimum_follows_the_ratio_though_no_power_does():
    # as test accuracy does: best in the middle, with neither exponent different from 0
    chosen = planted(a=0.0, b=0.0, bend=-0.3, cell_sd=0.02, run_sd=0.02)
    found = fit(chosen)
    assert found.laws["free"].p_zero > 0.05
    assert found.verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    ("lr", "batch", "share", "used"),
    [
        (LR, BATCH, 1.0, True),  # log grids of one factor lose nothing
        (LR * 1.07 ** np.arange(4), BATCH, None, False),  # no two cells share a ratio
        (LR[:2], BATCH[:2], None, False),  # one shared ratio of two cells: nothing left for errors
        ([0.02, 0.028, 0.04, 0.056, 0.08, 0.112], [8, 9, 10, 11, 16, 32], 0.6, True),
    ],
)
def test_it_is_used_where_the_design_tells_enough(lr, batch, share, used):
    chosen = planted(lr=np.array(lr), batch=np.array(batch))
    found = slope(chosen)
    if share is None:
        assert found is None
    else:
        assert found.information == pytest.approx(share, abs=0.15)
        assert found.suffices is used
    assert fit(chosen).basis == ("equal ratio" if used else "free law")


def test_information_is_what_the_variance_says():
    # without scatter between cells' sizes the ratio of variances is that of information
    chosen = planted(lr=np.array([0.02, 0.04, 0.05, 0.08]))
    found = slope(chosen)
    cells = crossing(chosen.frame).cells
    x = np.log(cells[["lr", "batch_size"]].to_numpy(float))
    design = np.column_stack([np.ones(len(x)), x[:, 0] - x[:, 1], x[:, 1]])
    free = 1 / np.linalg.inv(design.T @ design)[2, 2]
    groups = cells.groupby("ratio_group")["batch_size"]
    inside = sum(((np.log(g) - np.log(g).mean()) ** 2).sum() for _, g in groups)
    assert found.information == pytest.approx(inside / free)


def test_each_family_has_the_t_interval_of_its_seeds():
    chosen = planted(seeds=4, slope_sd=0.1)
    found = slope(chosen).families
    one = found[2]
    part = chosen.frame[np.isclose(chosen.frame["ratio"], one.ratio)]
    slopes = [np.polyfit(np.log(p["batch_size"]), p["y"], 1)[0] for _, p in part.groupby("seed")]
    truth = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert (one.slope.low, one.slope.high) == pytest.approx((truth.low, truth.high))
    assert one.cells == part["cell"].nunique()


def test_one_seed_has_slopes_without_intervals():
    found = slope(planted(seeds=1)).families
    assert all(math.isfinite(f.slope.value) and math.isnan(f.slope.low) for f in found)


@pytest.mark.parametrize(("off", "alike"), [(0.0, True), (0.4, False)])
def test_ratios_at_which_the_law_breaks_are_seen(off, alike):
    # a + b = off at the larger half of the ratios
    chosen = planted(cell_sd=0.01, run_sd=0.01, lr=0.02 * 2.0 ** np.arange(6))
    frame = chosen.frame
    high = frame["ratio"] > frame["ratio"].median()
    y = frame["y"] + off * high * np.log(frame["batch_size"])
    found = slope(type(chosen)(chosen.metric, chosen.at, frame.assign(y=y), ()))
    assert (found.alike > 0.05) is alike
    ends = [f.slope.value for f in (found.families[0], found.families[-1])]
    assert ends == pytest.approx([0.0, off], abs=0.05)
