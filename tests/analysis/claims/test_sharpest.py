"""Claims of Sharpest Directions on planted sweeps: each holds, fails and stays open."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.sharpest import (
    aligned,
    nudged_is_no_worse,
    nudged_is_sharper,
    overshoots,
    peak_falls,
    rises_then_falls,
)
from tests.analysis.claims.sweeps import curves, planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.05, 0.1, 0.2), batch_size=(8, 32), seeds=5)


def shape(start, peak, end, at=1.0):
    """λ₁ from ``start`` to ``peak`` at the first snapshot from epoch ``at`` on, then ``end``."""
    def sharp(f):
        reached = (f["epoch"] >= at).groupby(f["run_id"]).cumsum()
        return np.where(f["step"] == 0, start, np.where(reached == 1, peak, end))

    return {"hessian_lambda_max": sharp}


@pytest.mark.parametrize(("why", "path", "verdict"), [
    ("up and down", shape(5.0, 20.0, 2.0), Verdict.HOLDS),
    ("only down", shape(20.0, 10.0, 2.0), Verdict.FAILS),
    ("only up: the peak is the last", shape(1.0, 5.0, 4.0, at=20.0), Verdict.FAILS),
    ("some seeds start high", {"hessian_lambda_max": lambda f: np.where(
        f["step"] == 0, np.where(f["run_seed"] == 0, 12.0, 9.0), np.where(
            f["epoch"] < 5, 10.0, 5.0))}, Verdict.UNDECIDED),
])
def test_curvature_rises_then_falls(tmp_path, why, path, verdict):
    assert judge(rises_then_falls, planted(tmp_path, PLAN, snapshots=path)).verdict is verdict, why


def test_the_rise_is_a_geometric_mean_over_cells(tmp_path):
    found = judge(rises_then_falls, planted(tmp_path, PLAN, snapshots=shape(5.0, 20.0, 2.0)))
    assert found.judgement.effects[0].interval.value == pytest.approx(math.log(4))
    assert {row["peak_epoch"] for row in found.judgement.evidence} <= {
        row["peak_epoch"] for row in found.judgement.evidence if 0.9 < row["peak_epoch"] < 2.1}


@pytest.mark.parametrize(("power", "verdict"), [
    (-1.0, Verdict.HOLDS), (1.0, Verdict.FAILS), (None, Verdict.UNDECIDED)])
def test_the_peak_falls_with_the_ratio(tmp_path, power, verdict):
    def sharp(f):
        sign = power if power else np.where(f["run_seed"] % 2, 1.0, -1.0)
        return f["run_ratio"] ** sign * np.where(f["epoch"].between(1, 3), 9.0, 3.0)

    sweep = planted(tmp_path, PLAN, snapshots={"hessian_lambda_max": sharp})
    assert judge(peak_falls, sweep).verdict is verdict


def test_runs_that_have_not_got_going_are_left_out(tmp_path):
    """Slow runs end at their peak, and would turn the correlation about."""
    path = {"hessian_lambda_max": lambda f: f["run_ratio"] ** np.where(
        f["run_ratio"] < 0.004, 1.0, -1.0) * np.where(f["epoch"].between(1, 3), 9.0, 3.0)}
    runs = {"final_train_accuracy": lambda f: np.where(f["ratio"] < 0.004, 0.3, 1.0)}
    found = judge(peak_falls, planted(tmp_path, PLAN, runs=runs, snapshots=path))
    assert found.verdict is Verdict.HOLDS
    assert found.judgement.note.startswith("10 runs are left out")
    assert judge(peak_falls, planted(tmp_path / "all", PLAN, snapshots=path),
                 {"accuracy": 0.0}).verdict is not Verdict.HOLDS


def changes(sweep, half, one, two):
    """Curves of the loss change along e₁ at every snapshot; of the other series, noise."""
    rows = [(row.run_id, row.step, "step_loss_change", series, i, x, value * scale)
            for row in sweep.snapshots.itertuples()
            for series, scale in (("e1", 1.0), ("random", -1.0))
            for i, (x, value) in enumerate(((0.5, half(row)), (1.0, one(row)), (2.0, two(row))))]
    curves(Path(sweep.folder.path), rows)


@pytest.fixture
def steep(tmp_path):
    """η·λ₁ = 1 everywhere but at the smallest η, where it is 0.1."""
    return planted(tmp_path, PLAN, snapshots={"hessian_lambda_max": lambda f: np.where(
        f["run_lr"] < 0.06, 0.1, 1.0) / f["lr"]})


@pytest.mark.parametrize(("why", "curvature", "verdict"), [
    ("ΔL(γ) = −γ + c γ²/2, half a step is better", lambda _: 3.0, Verdict.HOLDS),
    ("the step is too short", lambda _: 0.5, Verdict.FAILS),
    ("in half of the seeds", lambda row: 3.0 if row.seed % 2 else 0.5, Verdict.UNDECIDED),
])
def test_the_step_overshoots(steep, why, curvature, verdict):
    def change(gamma):
        def of(row):
            c = curvature(row) if row.epoch >= 3 and row.run_lr > 0.06 else 0.0
            return -gamma + c * gamma**2 / 2

        return of

    changes(steep, change(0.5), change(1.0), change(2.0))
    found = judge(overshoots, steep)
    assert found.verdict is verdict, why
    assert {row["run_lr"] for row in found.judgement.evidence} == {0.1, 0.2}


def test_overshooting_needs_its_multiples(steep):
    assert "multiples" in judge(overshoots, steep).needs


MONITORS = json.dumps([["spectrum", {"k": 5}], ["step_geometry", {"k": 5}]])


@pytest.mark.parametrize(("times", "verdict"), [
    (300.0, Verdict.HOLDS), (3.0, Verdict.FAILS), (None, Verdict.UNDECIDED)])
def test_gradients_are_aligned(tmp_path, times, verdict):
    def share(f):
        return (times or 10.0 ** f["run_seed"]) * 5 / 5000

    sweep = planted(tmp_path, PLAN, runs={"config_measure_monitors": MONITORS},
                    snapshots={"step_gradient_share": share})
    found = judge(aligned, sweep)
    assert found.verdict is verdict
    if times:
        assert found.judgement.effects[0].interval.value == pytest.approx(math.log(times))


NUDGED = Planted(lr=(0.1,), batch_size=(32,), momentum=(0.0, 0.1, 0.2, 0.3), seeds=5)
GAMMAS = {0.0: 0.01, 0.1: 0.1, 0.2: 1.0, 0.3: 3.0}


def nudged(folder, power, accuracy=lambda _: 0.9, plain="nudged_sgd", plan=NUDGED):
    """λ₁ ∝ γ^−power. The planted axis becomes γ."""
    gamma = {"config_train_optimizer_gamma": lambda f: f["momentum"].map(GAMMAS),
             "config_train_optimizer_name": lambda f: np.where(
                 f["momentum"] == 0.2, plain, "nudged_sgd"),
             "config_train_loss": "cross_entropy", "effective_ratio": lambda f: f["ratio"],
             "momentum": 0.0}
    return planted(folder, plan, runs=gamma, snapshots={
        "hessian_lambda_max": lambda f: f["run_config_train_optimizer_gamma"] ** -(
            power(f) if callable(power) else power) * (1 + f["run_seed"]),
        "train_loss": lambda f: 1 / (1 + f["epoch"]), "test_accuracy": accuracy})


@pytest.mark.parametrize(("power", "verdict"), [
    (0.3, Verdict.HOLDS), (-0.3, Verdict.FAILS),
    (lambda f: np.where(f["run_seed"] % 2, 0.3, -0.2), Verdict.UNDECIDED)])
@pytest.mark.parametrize("plain", ["nudged_sgd", "sgd"])
def test_nudging_changes_sharpness(tmp_path, power, verdict, plain):
    found = judge(nudged_is_sharper, nudged(tmp_path, power, plain=plain))
    assert found.verdict is verdict
    if power == 0.3:
        below, beyond = (e.interval.value for e in found.judgement.effects)
        assert below == pytest.approx(0.3 * math.log(1000) / 2)
        assert beyond == pytest.approx(0.3 * math.log(3))


@pytest.mark.parametrize(("missing", "power", "verdict"), [
    ("beyond", 0.3, Verdict.UNDECIDED),  # half of the claim, whatever it says, is not all of it
    ("below", 0.3, Verdict.UNDECIDED),
    ("beyond", -0.3, Verdict.FAILS),
    ("below", -0.3, Verdict.FAILS),
])
def test_nudging_one_way_alone_does_not_make_it_hold(tmp_path, missing, power, verdict):
    gone = {"beyond": (0.3,), "below": (0.0, 0.1)}[missing]
    plan = NUDGED.but(momentum=tuple(m for m in NUDGED.momentum if m not in gone))
    found = judge(nudged_is_sharper, nudged(tmp_path, power, plan=plan))
    assert found.verdict is verdict
    assert len(found.judgement.effects) == 2
    if verdict is Verdict.UNDECIDED:
        assert ("γ > 1" if missing == "beyond" else "γ < 1") in found.decides


@pytest.mark.parametrize(("why", "power", "loss", "verdict"), [
    ("sharper, and as good", 0.3, 0.002, Verdict.HOLDS),
    ("sharper, but worse", 0.3, 0.05, Verdict.FAILS),
    ("seeds disagree", 0.3, None, Verdict.UNDECIDED),
    ("as good, but flatter", -0.3, 0.002, Verdict.FAILS),
])
def test_nudging_costs_no_accuracy(tmp_path, why, power, loss, verdict):
    def accuracy(f):
        cost = loss if loss else f["run_seed"] / 100
        return 0.9 - np.where(f["run_config_train_optimizer_gamma"] < 1, cost, 0.0)

    found = judge(nudged_is_no_worse, nudged(tmp_path, power, accuracy))
    assert found.verdict is verdict, why
    assert [row["gamma"] for row in found.judgement.evidence] == [0.01, 0.1, 1.0]


@pytest.mark.parametrize("claim", [rises_then_falls, peak_falls], ids=lambda c: c.number)
def test_runs_with_a_schedule_have_no_one_rate(tmp_path, claim):
    """At the two larger rates the rate is cut: curvature rises to the end, and most of all there.
    Without them the claims are as planted."""
    def sharp(f):
        plain = f["run_ratio"] ** -1.0 * np.where(f["epoch"].between(1, 3), 9.0, 3.0)
        return np.where(f["run_lr"] > 0.07, f["run_ratio"] * 1e9 * (1 + f["epoch"]),
                        plain * (1 + (f["step"] > 0)))

    runs = {"config_train_lr_schedule_name": lambda r: np.where(
        r["lr"] > 0.07, "switch", "constant")}
    plan = PLAN.but(batch_size=(8, 16, 32))
    assert judge(claim, planted(tmp_path / "s", plan, runs=runs, snapshots={
        "hessian_lambda_max": sharp})).verdict is Verdict.HOLDS
    assert judge(claim, planted(tmp_path / "c", plan, snapshots={
        "hessian_lambda_max": sharp})).verdict is not Verdict.HOLDS


CLAIMS = (rises_then_falls, peak_falls, overshoots, aligned, nudged_is_sharper, nudged_is_no_worse)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
@pytest.mark.parametrize("plan", [PLAN.but(diverge_above=0.0), PLAN.but(seeds=1),
                                  PLAN.but(lr=(0.1,), batch_size=(8,), seeds=1)])
def test_odd_sweeps_are_told_and_never_crash(tmp_path, claim, plan):
    found = judge(claim, planted(tmp_path, plan, runs={"config_measure_monitors": "[]"}))
    assert found.verdict in (Verdict.UNTESTED, Verdict.UNDECIDED)
    assert found.decides
