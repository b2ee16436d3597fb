"""Claims of Stiffness on planted sweeps: each holds, fails and stays open."""

import numpy as np
import pytest

from analysis.claims import stiffness
from analysis.claims.claim import Verdict, judge
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1, 0.2, 0.4), batch_size=(16,), seeds=6)
H, F, U = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
SIGN = {H: lambda _: 1.0, F: lambda _: -1.0, U: lambda j: (-1.0) ** j["run_seed"]}


@pytest.mark.parametrize("verdict", SIGN)
def test_classes_are_stiff(tmp_path, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "stiffness_cos_within": lambda j: 0.2 + 0.1 * SIGN[verdict](j) + 0 * j["step"],
        "stiffness_cos_between": lambda j: 0.0 * j["step"]})
    assert judge(stiffness.classes_are_stiff, sweep).verdict is verdict


@pytest.mark.parametrize("verdict", SIGN)
def test_falls_with_distance(tmp_path, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "stiffness_slope": lambda j: -0.3 * SIGN[verdict](j) + 0 * j["step"],
        "critical_length": lambda j: 1.4 + 0 * j["step"]})
    assert judge(stiffness.falls_with_distance, sweep).verdict is verdict


@pytest.mark.parametrize(("power", "verdict"), [(-0.1, H), (0.0, F), (0.1, F)])
def test_critical_length_falls_with_rate(tmp_path, power, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "critical_length": lambda j: j["run_lr"] ** power * (1 + j["run_seed"] / 100)})
    judged = judge(stiffness.critical_length_falls_with_rate, sweep)
    assert judged.verdict is verdict
    assert judged.judgement.effects[0].interval.value == pytest.approx(power)


def test_rates_that_are_cut_are_no_rates(tmp_path):
    """With a schedule ξ grows with the rate that a run begins with, with constant ones it falls."""
    sweep = planted(tmp_path, PLAN.but(momentum=(0.0, 0.1)), runs={
        "config_train_lr_schedule_name": lambda r: np.where(
            r["momentum"] > 0, "switch", "constant"),
        "momentum": 0.0}, snapshots={"critical_length": lambda j: j["run_lr"] ** np.where(
            j["run_config_train_lr_schedule_name"] == "switch", 0.3, -0.1)})
    judged = judge(stiffness.critical_length_falls_with_rate, sweep)
    assert judged.judgement.effects[0].interval.value == pytest.approx(-0.1)


@pytest.mark.parametrize("verdict", SIGN)
def test_fades_when_overfitting(tmp_path, verdict):
    plan = PLAN.but(label_noise=(0.4,))
    sweep = planted(tmp_path, plan, snapshots={
        "test_loss": lambda j: 1 + (j["epoch"] - 4).abs() / 10,
        "stiffness_cos_within": lambda j: np.where(
            j["epoch"] <= 4, 0.5, 0.25 - 0.1 * SIGN[verdict](j))})
    assert judge(stiffness.fades_when_overfitting, sweep).verdict is verdict


CLAIMS = (stiffness.classes_are_stiff, stiffness.falls_with_distance,
          stiffness.critical_length_falls_with_rate, stiffness.fades_when_overfitting)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_a_sweep_that_lacks_what_is_needed_says_so(tmp_path, claim):
    judged = judge(claim, planted(tmp_path, Planted()))
    assert judged.verdict is Verdict.UNTESTED
    assert judged.needs


@pytest.mark.parametrize("change", [{"seeds": 1}, {"diverge_above": 0.0}])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_odd_sweeps_are_judged_without_a_crash(tmp_path, claim, change):
    columns = {c: lambda j: 0.5 + 0 * j["step"] for c in (
        "stiffness_cos_within", "stiffness_cos_between", "stiffness_slope", "critical_length")}
    plan = PLAN.but(label_noise=(0.0, 0.5, 1.0), **change)
    assert judge(claim, planted(tmp_path, plan, snapshots=columns)).verdict in (
        U, Verdict.UNTESTED)
