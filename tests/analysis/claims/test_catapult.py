"""The catapult on planted full-batch runs of η·λ₀ = 1, 3, 4 and 5: λ₀ is 10."""

import math

import numpy as np
import pytest

from analysis.claims.catapult import catapult
from analysis.claims.claim import Verdict, judge
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1, 0.3, 0.4, 0.5), batch_size=(1500,), epochs=60.0, seeds=5)
SGD = {"config_train_loss": "mse", "config_train_optimizer_name": "sgd"}


def thrown(peak=3.0, end=1.5, lazy=10.0, fits=lambda f: f["run_lr"] > 0):
    """Above 2/λ₀ the loss rises to ``peak`` times that of the start and η·λ_max falls to ``end``;
    below, λ_max comes to ``lazy``. ``fits``: the runs that end with an accuracy of 1."""
    def of(value):
        return value if callable(value) else lambda _: value

    def sharp(f):
        late = np.where(f["run_lr"] > 0.2, of(end)(f) / f["lr"], lazy)
        return np.where(f["step"] == 0, 10.0, late)

    def loss(f):
        early = np.where(f["run_lr"] > 0.2, of(peak)(f), 0.8)
        return np.where(f["step"] == 0, 1.0, np.where(f["epoch"] < 10, early, 0.1))

    return {"hessian_lambda_max": sharp, "train_loss": loss,
            "train_accuracy": lambda f: np.where(fits(f), 1.0, 0.1)}


def found_in(folder, plan=PLAN, options=None, runs=SGD, **path):
    return judge(catapult, planted(folder, plan, runs=runs, snapshots=thrown(**path)), options)


def odd(f):
    """Seeds 1 and 3 of 5."""
    return f["run_seed"] % 2 == 1


@pytest.mark.parametrize(("why", "path", "verdict"), [
    ("bump, convergence, flatter", {}, Verdict.HOLDS),
    ("the loss falls at once", {"peak": 0.7}, Verdict.FAILS),
    ("it stays above the edge", {"end": 2.6}, Verdict.FAILS),
    ("training below 2/λ₀ ends as flat", {"lazy": 2.0}, Verdict.FAILS),
    ("above 2/λ₀ nothing fits", {"fits": lambda f: f["run_lr"] < 0.2}, Verdict.FAILS),
    ("in some seeds nothing does", {"fits": lambda f: (f["run_lr"] < 0.2) | odd(f)},
     Verdict.UNDECIDED),
    ("in some seeds the loss falls at once",
     {"peak": lambda f: np.where(odd(f), 0.5, 3.0)}, Verdict.UNDECIDED),
])
def test_catapult(tmp_path, why, path, verdict):
    assert found_in(tmp_path, **path).verdict is verdict, why


def test_it_fails_where_all_of_several_rates_diverge(tmp_path):
    """However early they diverge: these were measured at step 0 alone."""
    sweep = planted(tmp_path, PLAN.but(diverge_above=0.2 / 1500), runs=SGD, snapshots=thrown() | {
        "train_loss": lambda f: np.where((f["step"] > 0) & (f["run_lr"] > 0.2), np.nan, 1.0)})
    found = judge(catapult, sweep)
    assert found.verdict is Verdict.FAILS
    assert found.judgement.said == "in none of 5 seeds does a rate above 2/λ₀ fit"
    assert found.judgement.note.startswith(
        "of 15 runs with η·λ₀ above 2 and at most 12, 15 diverged and 0 ended")


def test_the_effects_are_those_planted(tmp_path):
    share, peak, end, flatter = (e.interval.value for e in found_in(
        tmp_path).judgement.effects)
    assert share == 1.0
    assert (peak, end) == (pytest.approx(math.log(3)), pytest.approx(1.5))
    assert flatter == pytest.approx(math.log(1.5 / 0.5 / 10))


def test_the_largest_rate_that_fits_counts(tmp_path):
    """η = 0.5 diverges; at 0.3 the loss falls at once, which says nothing."""
    found = found_in(tmp_path, PLAN.but(diverge_above=0.45 / 1500),
                     peak=lambda f: np.where(f["run_lr"] < 0.35, 0.5, 3.0))
    assert found.verdict is Verdict.HOLDS
    assert found.judgement.effects[1].interval.value == pytest.approx(math.log(3))
    assert "5 diverged and 0 ended" in found.judgement.note


def test_a_net_that_died_has_not_converged(tmp_path):
    found = found_in(tmp_path, end=lambda f: np.where(f["run_lr"] > 0.45, 0.1, 1.5),
                     fits=lambda f: f["run_lr"] < 0.45)
    assert "5 ended without fitting" in found.judgement.note
    assert found.judgement.effects[2].interval.value == pytest.approx(1.5)


def test_beyond_the_range_no_catapult_is_looked_for(tmp_path):
    """η = 1.5 lies at 15/λ₀, and ends above the edge."""
    plan = PLAN.but(lr=(*PLAN.lr, 1.5))
    path = {"end": lambda f: np.where(f["run_lr"] > 1, 3.0, 1.5)}
    assert found_in(tmp_path / "to_12", plan, **path).verdict is Verdict.HOLDS
    assert found_in(tmp_path / "to_30", plan, {"most": 30.0}, **path).verdict is Verdict.FAILS


def test_two_rates_cannot_refute_that_there_is_one(tmp_path):
    found = found_in(tmp_path, PLAN.but(lr=(0.1, 0.3, 0.4)), fits=lambda f: f["run_lr"] < 0.2)
    assert "at least 3 learning rates with η·λ₀ above 2" in found.needs


@pytest.mark.parametrize(("lr", "fits"), [
    ((0.3, 0.4, 0.5), lambda f: f["run_lr"] > 0), (PLAN.lr, lambda f: f["run_lr"] > 0.2)])
def test_training_below_the_threshold_has_to_fit(tmp_path, lr, fits):
    """Else too few steps or too high an accuracy could be why nothing fits above it."""
    assert "η·λ₀ below 2" in found_in(tmp_path, PLAN.but(lr=lr), fits=fits).needs


@pytest.mark.parametrize("plan", [
    PLAN.but(seeds=1), PLAN.but(diverge_above=0.0), PLAN.but(batch_size=(16, 64)),
    PLAN.but(lr=(0.1,))])
@pytest.mark.parametrize("runs", [{}, SGD, SGD | {"config_train_optimizer_name": "adam"},
                                  SGD | {"config_train_lr_schedule_name": "switch"}])
def test_odd_sweeps_are_told_and_never_crash(tmp_path, plan, runs):
    found = found_in(tmp_path, plan, runs=runs)
    assert found.verdict in (Verdict.UNTESTED, Verdict.UNDECIDED)
    assert found.decides
