"""Power laws against statsmodels, and against laws that were planted."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.forms import FORMS
from analysis.laws import Verdict, fit, rows
from tests.analysis.oracles import bell_mccaffrey
from tests.analysis.planted import planted_points

LR = np.array([0.02, 0.04, 0.08, 0.16])
BATCH = np.array([8, 16, 32, 64])


def planted(rng=0, lr=LR, batch=BATCH, seeds=3, **how):
    return planted_points(np.random.default_rng(rng), lr, batch, seeds, **how)


def only(chosen, keep):
    """The points whose rows ``keep`` chooses."""
    frame = chosen.frame[keep(chosen.frame)].reset_index(drop=True)
    return type(chosen)(chosen.metric, chosen.at, frame, ())


def truth_rows(chosen, name):
    """The design matrix of a form."""
    return oracle(chosen, name).model.exog


def oracle(chosen, name):
    """statsmodels on the cell means of a complete grid."""
    means = chosen.frame.groupby("cell")[["lr", "batch_size", "label_noise", "y"]].mean()
    x = np.log(means[["lr", "batch_size"]].to_numpy()) @ np.array(FORMS[name].slopes).T
    x = x - x.mean(0)
    noise = means[["label_noise"]].to_numpy() if means["label_noise"].nunique() > 1 else x[:, :0]
    products = noise * x if noise.size else noise
    design = sm.add_constant(np.hstack([noise, x, products]))
    return sm.OLS(means["y"].to_numpy(), design).fit(cov_type="HC2", use_t=True)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("noise", [(0.0,), (0.0, 0.3)])
def test_every_form_is_statsmodels_ols(name, noise):
    chosen = planted(noise=noise)
    found, truth = fit(chosen).laws[name], oracle(chosen, name)
    ours = [*found.covariates.values(), *found.exponents.values()]
    told = slice(1, 1 + len(ours))
    np.testing.assert_allclose([i.value for i in ours], truth.params[told], rtol=1e-8)
    dofs = [bell_mccaffrey(truth.model.exog, unit) for unit in np.eye(len(truth.params))[told]]
    halves = stats.t.ppf(0.975, dofs) * truth.bse[told]
    np.testing.assert_allclose([i.half for i in ours], halves, rtol=1e-6)
    assert found.spread == pytest.approx(math.sqrt(truth.mse_resid))
    press = truth.get_influence().resid_press
    assert found.loo == pytest.approx(math.sqrt(np.mean(press**2)))


def test_differences_of_aicc_are_those_of_the_likelihoods():
    # the constants of the likelihood drop out of the differences only
    chosen = planted()
    found = fit(chosen).laws

    def aicc(name):
        result = oracle(chosen, name)
        k, n = len(result.params) + 1, int(result.nobs)
        return -2 * result.llf + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    for name in FORMS:
        ours = found[name].aicc - found["free"].aicc
        assert ours == pytest.approx(aicc(name) - aicc("free"), abs=1e-8)


@pytest.mark.parametrize(
    ("seeds", "how"),
    [
        (1, {}),
        (8, {"slope_sd": 0.1}),  # seeds tilt the whole plane
        (6, {"run_sd": 0.4, "cell_sd": 0.0, "a": -0.5, "b": 0.1}),
    ],
)
def test_intervals_cover_what_was_planted(seeds, how):
    truth = how.get("a", -0.7) + how.get("b", 0.7)
    totals = [fit(planted(k, seeds=seeds, **how)).total for k in range(100)]
    covered = sum(total.holds(truth) for total in totals)
    assert 88 <= covered <= 100  # P(below 88 | 95 %) = 0.1 %
    bias = np.mean([total.value for total in totals]) - truth
    assert abs(bias) < 0.35 * np.mean([total.half for total in totals])


def test_intervals_that_ignored_the_seeds_would_not_cover():
    # the case that the seeds' part of the variance is for
    fits = [fit(planted(k, seeds=8, slope_sd=0.3, cell_sd=0.01, run_sd=0.01)) for k in range(30)]
    assert np.mean([f.total.holds(0.0) for f in fits]) > 0.85
    assert np.mean([f.seed_share for f in fits]) > 0.9


@pytest.mark.parametrize("seeds", [3, 8])
def test_a_null_sweep_is_rarely_taken_for_a_law(seeds):
    fits = [fit(planted(k, seeds=seeds, a=0.0, b=0.0)) for k in range(30)]
    assert sum(f.laws["free"].p_zero < 0.05 for f in fits) <= 5
    assert sum(f.verdict is not Verdict.NO_LAW for f in fits) <= 2


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ({"cell_sd": 0.02}, Verdict.HOLDS),
        ({"a": 0.7, "b": -0.7, "cell_sd": 0.02}, Verdict.HOLDS),
        ({"a": -0.7, "b": 0.3}, Verdict.FAILS),
        ({"a": -0.3, "b": 0.7}, Verdict.FAILS),
        ({"a": -0.7, "b": 0.0}, Verdict.FAILS),  # a law of η alone
        ({"cell_sd": 0.4}, Verdict.UNDECIDED),  # an interval wider than the margin
        ({"b": 0.6, "cell_sd": 0.05}, Verdict.UNDECIDED),  # right on the margin
        ({"a": 0.0, "b": 0.0}, Verdict.NO_LAW),
        # significant, but so flat that a + b is inside the margin whatever the law
        ({"a": 0.05, "b": 0.02, "cell_sd": 0.001, "run_sd": 0.001}, Verdict.NO_LAW),
    ],
)
def test_verdict_on_planted_laws(how, verdict):
    assert fit(planted(3, seeds=4, **how)).verdict is verdict


@pytest.mark.parametrize(
    ("margin", "verdict"),
    [(0.01, Verdict.UNDECIDED), (0.1, Verdict.HOLDS)],
)
def test_the_verdict_is_an_equivalence_test(margin, verdict):
    # a + b = 0 is never rejected here; a stricter margin must still withhold "holds"
    found = fit(planted(cell_sd=0.03), margin)
    assert found.total.holds(0.0)
    assert (found.verdict, found.margin) == (verdict, margin)


@pytest.mark.parametrize(
    ("lr", "batch", "fitted", "verdict"),
    [
        (LR[:1], BATCH[:1], set(), Verdict.NOT_FITTED),  # one cell
        (LR[:2], BATCH[:1], set(), Verdict.NOT_FITTED),  # no degrees of freedom for an error
        (LR, BATCH[:1], {"ratio", "sqrt", "lr"}, Verdict.UNDECIDED),  # one S: η or η/S?
        (LR[:1], BATCH, {"ratio", "sqrt", "batch"}, Verdict.UNDECIDED),
        (LR[:2], BATCH[:2], {"ratio", "sqrt", "lr", "batch"}, Verdict.UNDECIDED),
    ],
)
def test_what_a_small_grid_cannot_identify_is_not_fitted(lr, batch, fitted, verdict):
    found = fit(planted(lr=lr, batch=batch, cell_sd=0.001, run_sd=0.001))
    assert {name for name, law in found.laws.items() if law.beta is not None} == fitted
    assert found.verdict is verdict
    for name in set(FORMS) - fitted:
        assert all(math.isnan(i.value) for i in found.laws[name].exponents.values())
        assert found.predict(name, found.crossing.cells) is None


def test_one_ratio_says_nothing_about_the_ratio():
    found = fit(only(planted(), lambda f: np.isclose(f["ratio"], 0.0025)))
    assert found.cells == 4
    assert found.laws["ratio"].beta is None
    assert found.laws["free"].beta is None
    assert found.laws["lr"].beta is not None


def test_no_cell_at_all():
    found = fit(only(planted(), lambda f: f["lr"] < 0))
    assert (found.cells, found.runs, found.verdict) == (0, 0, Verdict.NOT_FITTED)


def test_as_many_terms_as_cells_is_no_error():
    # six cells in three strata: the bent law has no degree of freedom left
    chosen = planted(lr=LR[:2], batch=BATCH[:3], seeds=2)
    chosen.frame.update({"stratum": chosen.frame["cell"].map({0: 0, 1: 1, 2: 2, 3: 1, 4: 2, 5: 0})})
    found = fit(chosen)
    assert math.isnan(found.delta_aicc_curved)


def test_a_lost_run_barely_moves_the_law():
    # seed 1 is far off; a cell without it must not seem lower
    chosen = planted(seed_sd=2.0, cell_sd=0.001, run_sd=0.001)
    found = fit(only(chosen, lambda f: ~((f["cell"] == 0) & (f["seed"] == 1))))
    assert found.runs == 47
    assert found.laws["free"].exponents["a"].value == pytest.approx(-0.7, abs=0.01)


def test_noise_is_a_covariate():
    found = fit(planted(noise=(0.0, 0.2, 0.4), noise_slope=1.3, cell_sd=0.01, run_sd=0.01))
    assert found.laws["free"].covariates["label_noise"].value == pytest.approx(1.3, abs=0.05)
    assert found.verdict is Verdict.HOLDS
    assert fit(planted()).laws["free"].covariates == {}


def test_exponents_are_those_without_noise():
    """Noise makes curvature fall more slowly with the ratio; a common slope would mix both."""
    chosen = planted(noise=(0.0, 0.25), seed_sd=0.01, cell_sd=0.01, run_sd=0.01)
    ratio = np.log(chosen.frame["ratio"])
    chosen.frame["y"] += 2.0 * chosen.frame["label_noise"] * (ratio - ratio.mean())
    found = fit(chosen)
    assert found.laws["ratio"].exponents["a"].value == pytest.approx(-0.7, abs=0.02)
    assert found.verdict is Verdict.HOLDS
    noisy = found.crossing.cells.query("label_noise > 0")
    y, _ = found.predict("free", noisy)
    np.testing.assert_allclose(y, found.crossing.means[noisy.index], atol=0.1)


def test_noise_at_one_cell_only_keeps_the_common_slope():
    chosen = planted(noise=(0.0, 0.25))
    lone = only(chosen, lambda f: (f["label_noise"] == 0) | (f["cell"] == f["cell"].max()))
    law = fit(lone).laws["free"]
    assert math.isfinite(law.covariates["label_noise"].value)
    assert law.exponents["a"].holds(-0.7)


def test_momentum_turns_the_rate_into_the_effective_one():
    chosen = planted(cell_sd=0.001, run_sd=0.001, seed_sd=0.001)
    frame = chosen.frame.copy()
    half = frame["cell"] % 2 == 1
    frame.loc[half, "momentum"] = 0.9
    frame.loc[half, "lr"] *= 0.1  # η/(1 − μ) as before
    found = fit(type(chosen)(chosen.metric, chosen.at, frame, ()))
    assert found.effective
    assert found.laws["free"].exponents["a"].value == pytest.approx(-0.7, abs=0.01)


def test_strata_have_intercepts_of_their_own():
    # two models that differ by a constant, on halves of the grid that differ in η
    chosen = planted(cell_sd=0.001, run_sd=0.001)
    high = chosen.frame["lr"] > 0.05
    frame = chosen.frame.assign(stratum=high.astype(int), y=chosen.frame["y"] + 5.0 * high)
    found = fit(type(chosen)(chosen.metric, chosen.at, frame, ()))
    assert found.laws["free"].exponents["a"].value == pytest.approx(-0.7, abs=0.01)


@pytest.mark.parametrize(("bend", "seen"), [(0.0, False), (0.3, True)])
def test_a_bend_in_the_ratio_is_seen(bend, seen):
    chosen = planted(cell_sd=0.02)
    x = np.log(chosen.frame["ratio"])
    frame = chosen.frame.assign(y=chosen.frame["y"] + bend * (x - x.mean()) ** 2)
    found = fit(type(chosen)(chosen.metric, chosen.at, frame, ()))
    assert (found.delta_aicc_curved < -10) is seen


def test_predictions_are_the_line_and_its_band():
    chosen = planted()
    y, half = fit(chosen).predict("ratio", fit(chosen).crossing.cells)
    truth = oracle(chosen, "ratio").get_prediction()
    np.testing.assert_allclose(y, truth.predicted_mean, rtol=1e-8)
    rows = truth_rows(chosen, "ratio")
    halves = stats.t.ppf(0.975, [bell_mccaffrey(rows, row) for row in rows]) * truth.se_mean
    np.testing.assert_allclose(half, halves, rtol=1e-6)


def test_rows_are_plain_and_one_a_law():
    found = fit(planted(cell_sd=0.01, run_sd=0.01))
    table = rows([found, found])
    assert [row["law"] for row in table] == list(FORMS) * 2
    free, ratio = table[0], table[1]
    assert (free["sum"], free["sum_low"]) == (found.total.value, found.total.low)
    assert math.isnan(ratio["sum"])
    assert math.isnan(ratio["b"])
    assert free["verdict"] == "holds"
    assert type(free["verdict"]) is str
    assert (free["runs"], free["cells"], free["seeds"]) == (48, 16, 3)
