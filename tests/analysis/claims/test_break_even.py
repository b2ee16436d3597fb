"""The break-even point on planted sweeps: where each claim holds, fails, and cannot be told."""

import numpy as np
import pytest

from analysis.claims import known, selection
from analysis.claims.claim import Verdict, judge
from analysis.frames import load
from tests.analysis.claims import sweeps
from tests.analysis.planted import Planted

HOLDS, FAILS, UNDECIDED, UNTESTED = (
    Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED, Verdict.UNTESTED)
GRID = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16), seeds=5, parts=1, run_sd=0.02,
               cell_sd=0.0)


def claim(name):
    return known()[f"break_even/{name}"]


def bump(f, exponent, middle=3.0):
    """A path that peaks once, as (η/S)^exponent, with seeds and runs a little apart."""
    jitter = np.random.default_rng(1).lognormal(0, 0.02, f["run_run_id"].nunique())
    of_run = f["run_run_id"].map(dict(zip(f["run_run_id"].unique(), jitter, strict=True)))
    time = np.log(f["epoch"] + 1e-3) - np.log(middle)
    return of_run * f["run_ratio"] ** exponent * np.exp(-0.2 * time**2)


def planted(tmp_path, hessian=-0.5, noise=-0.5, trace=-0.5, condition=0.5, middle=3.0, **changes):
    return sweeps.planted(tmp_path / "s", GRID.but(**changes.pop("plan", {})), snapshots={
        "hessian_lambda_max": lambda f: bump(f, hessian, middle),
        "k_lambda_max": lambda f: 0.1 * bump(f, noise, middle),
        "k_trace": lambda f: bump(f, trace), "k_condition": lambda f: bump(f, condition)},
        **changes)


@pytest.mark.parametrize(("name", "exponents", "verdict"), [
    ("peaks_fall", {}, HOLDS),
    ("peaks_fall", {"noise": 0.5}, FAILS),  # one of the two is enough
    ("noise_falls", {}, HOLDS),
    ("noise_falls", {"trace": 0.5}, FAILS),
    ("conditioning_improves", {}, HOLDS),
    ("conditioning_improves", {"condition": -0.5}, FAILS),
    ("curvature_moves_with_noise", {}, HOLDS),
    ("curvature_moves_with_noise", {"plan": {"seeds": 1}}, UNDECIDED),
    ("peaks_fall", {"plan": {"lr": (0.02,)}}, UNTESTED),
    ("noise_falls", {"plan": {"diverge_above": 0.0}}, UNTESTED),  # all runs diverged
    ("batch_norm_is_not_enough", {}, UNTESTED),
    ("batch_norm_is_not_enough", {"runs": {"config_model_batch_norm": True}}, HOLDS),
    ("peaks_fall", {"runs": {"config_model_batch_norm": True}}, UNTESTED),
])
def test_verdicts_on_planted_peaks(name, exponents, verdict, tmp_path):
    assert judge(claim(name), planted(tmp_path, **exponents)).verdict is verdict


@pytest.mark.parametrize("name", ["peaks_fall", "noise_falls", "curvature_moves_with_noise",
                                  "breaks_even_early", "peak_is_bounded"])
def test_runs_with_a_schedule_are_no_test(name, tmp_path):
    sweep = planted(tmp_path, runs={"config_train_lr_schedule_name": "switch"})
    assert "constant learning rate" in judge(claim(name), sweep).needs


def test_three_ratios_are_needed_within_a_setting(tmp_path):
    """Two settings of two ratios each have four: no rank correlation in either."""
    sweep = planted(tmp_path, plan={"lr": (0.02, 0.04), "batch_size": (8,), "momentum": (0.0, 0.9)})
    assert "3 values of η/S in one setting" in judge(claim("noise_falls"), sweep).needs


def test_the_slope_of_peaks_is_the_planted_one(tmp_path):
    found = judge(claim("peaks_fall"), planted(tmp_path, hessian=-0.5, noise=-0.25))
    slopes = [effect.interval.value for effect in found.judgement.effects]
    assert slopes == pytest.approx([-0.5, -0.25], abs=0.03)


def test_what_was_there_at_the_start_is_no_peak(tmp_path):
    """λ starts at 100 in all runs: only what follows the first step is compared."""
    sweep = sweeps.planted(tmp_path / "s", GRID, snapshots={
        name: lambda f: np.where(f["step"] == 0, 100.0, bump(f, -0.5))
        for name in ("hessian_lambda_max", "k_lambda_max")})
    found = judge(claim("peaks_fall"), sweep)
    assert found.verdict is HOLDS
    assert max(row["value"] for row in found.judgement.evidence) < 100


def test_runs_that_do_not_get_there_are_left_out_and_counted(tmp_path):
    """A run whose loss stays high may still be on its way up."""
    found = judge(claim("noise_falls"), planted(tmp_path), {"loss": 0.05})
    assert "never reach train loss 0.05" in found.judgement.note
    assert "to train loss 0.05" in found.judgement.stop_rule


def test_noise_that_falls_where_curvature_grows(tmp_path):
    """As with squared loss: the claim of cross-entropy fails, whatever the peaks do."""
    sweep = sweeps.planted(tmp_path / "s", GRID, snapshots={
        "hessian_lambda_max": lambda f: 1 + f["epoch"], "k_lambda_max": lambda f: f["train_loss"]})
    found = judge(claim("curvature_moves_with_noise"), sweep)
    assert found.verdict is FAILS
    assert found.judgement.effects[0].interval.value < -0.5


@pytest.mark.parametrize(("middle", "verdict"), [
    (lambda f: 0.02 / f["run_lr"], HOLDS),  # earlier with a larger rate, before the fit
    (lambda f: 4 * f["run_lr"] / 0.02, FAILS),  # later
])
def test_when_the_noise_peaks(middle, verdict, tmp_path):
    sweep = sweeps.planted(tmp_path / "s", GRID, snapshots={
        "k_lambda_max": lambda f: bump(f, 0.0, middle(f)),
        "train_accuracy": lambda f: np.clip(f["epoch"] / 4, 0, 1)})
    assert judge(claim("breaks_even_early"), sweep).verdict is verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.9, HOLDS), (1.3, FAILS)])
def test_the_bound_of_the_condition(share, verdict, tmp_path):
    """λ_H = share · 2/η and hardly any noise: the share is what is found."""
    sweep = sweeps.planted(tmp_path / "s", GRID, snapshots={
        "hessian_lambda_max": lambda f: share * 2 / f["run_lr"] * bump(f, 0.0)
        / bump(f, 0.0).groupby(f["run_run_id"]).transform("max"),
        "k_lambda_max": lambda f: 1e-9 + 0.0 * f["epoch"]})
    found = judge(claim("peak_is_bounded"), sweep)
    assert found.verdict is verdict
    assert found.judgement.effects[0].interval.value == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize(("column", "value"), [
    ("config_train_optimizer_name", "adam"), ("config_train_optimizer_name", "nudged"),
    ("config_train_fisher_penalty", 0.1), ("momentum", 0.9)])
def test_the_condition_is_one_of_plain_sgd(column, value, tmp_path):
    """Half of the runs step otherwise, ten times past the bound: they are no test of it."""
    def other(frame):
        return frame["seed"] % 2 == 1

    plain = {"momentum": 0.0, "config_train_fisher_penalty": 0.0}.get(column, "sgd")
    sweep = sweeps.planted(
        tmp_path / "s", GRID.but(seeds=10), runs={
            column: lambda f: np.where(other(f), value, plain)}, snapshots={
            "hessian_lambda_max": lambda f: np.where(f["run_seed"] % 2, 10, 0.5) * 2
            / f["run_lr"] * np.clip(bump(f, 0.0), 0, 1), "k_lambda_max": lambda f: 1e-9
            + 0.0 * f["epoch"]})
    found = judge(claim("peak_is_bounded"), sweep)
    assert found.verdict is HOLDS
    assert found.judgement.effects[0].units == 5
    alone = selection.only(sweep, sweep.runs.loc[other(sweep.runs), "run_id"])
    assert "plain SGD without momentum" in judge(claim("peak_is_bounded"), alone).needs


@pytest.mark.parametrize(("off", "error", "verdict"), [
    (1.0, 0.0, HOLDS), (1.03, 0.0, FAILS), (1.005, 0.02, UNDECIDED)])
def test_the_model_against_its_formula(off, error, verdict, tmp_path):
    sweeps.planted(tmp_path / "s", GRID)
    sweeps.probe(tmp_path / "s", "break_even", [], {
        ("break_even_growth", "measured_4"): {0.1: 0.8 * off, 0.2: 1.5},
        ("break_even_growth", "predicted_4"): {0.1: 0.8, 0.2: 1.5},
        ("break_even_error", "4"): {0.1: error, 0.2: 0.0},
        ("break_even_curvature", "found_4"): {0.1: 19.0, 0.2: 9.0},
        ("break_even_curvature", "predicted_4"): {0.1: 19.0, 0.2: 9.0}})
    assert judge(claim("dynamics_along_the_sharpest"), load(tmp_path / "s")).verdict is verdict
