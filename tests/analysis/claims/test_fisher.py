"""Claims of Catastrophic Fisher Explosion on planted sweeps: each holds, fails and stays open."""

import numpy as np
import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.fisher import early_trace_falls, penalty_slows_noisy
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1, 0.2, 0.4), batch_size=(16,), seeds=6)
H, F, U = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
SIGN = {H: lambda _: 1.0, F: lambda _: -1.0, U: lambda j: (-1.0) ** j["run_seed"]}


def risen(value):
    """Tr F rises from step 0 to what it is then."""
    return {"fisher_trace": lambda j: np.where(j["step"] > 0, 1.0, 0.1) * value(j)}


@pytest.mark.parametrize("verdict", SIGN)
def test_early_trace_falls(tmp_path, verdict):
    sweep = planted(tmp_path, PLAN, snapshots=risen(
        lambda j: 50 * j["run_lr"] ** (-SIGN[verdict](j) * 0.5)))
    assert judge(early_trace_falls, sweep).verdict is verdict


NOISY = {"label_noise": lambda r: np.where(r["momentum"] > 0, 0.4, 0.0)}
PENALISED = {"config_train_fisher_penalty": lambda r: np.where(r["momentum"] > 0, 0.3, 0.0)}
SCHEDULED = {"config_train_lr_schedule_name": lambda r: np.where(
    r["momentum"] > 0, "switch", "constant")}


@pytest.mark.parametrize("runs", [NOISY, PENALISED, SCHEDULED], ids=["noise", "penalty", "rate"])
def test_only_bare_runs_count(tmp_path, runs):
    """The other half, planted as runs with momentum, says the opposite."""
    runs = runs | {"momentum": 0.0}
    sweep = planted(tmp_path / "three", PLAN.but(momentum=(0.0, 0.1)), runs=runs, snapshots=risen(
        lambda j: 50 * j["run_lr"] ** -0.5))
    judged = judge(early_trace_falls, sweep)
    assert judged.verdict is H
    assert judged.judgement.note == ""
    assert len(judged.judgement.evidence) == 3
    fewer = planted(tmp_path / "two", PLAN.but(momentum=(0.0, 0.1)), runs=runs,
                    keep=lambda r: (r["momentum"] > 0) | (r["lr"] < 0.3),
                    snapshots=risen(lambda j: 50 * j["run_lr"] ** -0.5))
    assert "3 values of η/S" in judge(early_trace_falls, fewer).needs


def test_ratios_that_differ_by_rounding_are_one(tmp_path):
    """η/S of equal cells, off in the twelfth digit with S; Tr F falls with S there."""
    plan = PLAN.but(batch_size=(16, 32), lr=(0.1, 0.2, 0.4, 0.8))
    values = risen(lambda j: j["run_ratio"] ** -0.5 / j["run_batch_size"] ** 0.01)
    found = [judge(early_trace_falls, planted(tmp_path / str(off), plan, runs={
        "ratio": lambda r, off=off: r["ratio"] * (1 + off * r["batch_size"])}, snapshots=values)
        ).judgement.effects[0].interval.value for off in (0.0, 1e-12, -1e-12)]
    assert found == pytest.approx([found[0]] * 3, abs=1e-12)


def test_a_trace_that_falls_from_the_start_has_no_early_peak(tmp_path):
    sweep = planted(tmp_path, PLAN, snapshots={"fisher_trace": lambda j: 50 / (
        1 + j["run_ratio"] * j["epoch"])})
    judged = judge(early_trace_falls, sweep)
    assert judged.verdict is Verdict.UNTESTED
    assert "before the first snapshot" in judged.needs


@pytest.mark.parametrize("verdict", SIGN)
def test_penalty_slows_noisy(tmp_path, verdict):
    plan = PLAN.but(label_noise=(0.4,), lr=(0.1, 0.2))
    sweep = planted(tmp_path, plan, runs={
        "config_train_fisher_penalty": lambda r: (r["lr"] == 0.2) * 0.3, "lr": 0.1}, snapshots={
        "clean_accuracy": lambda j: (j["epoch"] / 10).clip(upper=1),
        "corrupted_accuracy": lambda j: j["epoch"] / 40 - 0.05 * SIGN[verdict](j) * (
            j["run_config_train_fisher_penalty"] > 0)})
    judged = judge(penalty_slows_noisy, sweep)
    assert judged.verdict is verdict
    if verdict is H:
        assert judged.judgement.effects[0].interval.value == pytest.approx(0.05)


CLAIMS = (early_trace_falls, penalty_slows_noisy)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_a_sweep_that_lacks_what_is_needed_says_so(tmp_path, claim):
    judged = judge(claim, planted(tmp_path, Planted()))
    assert judged.verdict is Verdict.UNTESTED
    assert judged.needs


@pytest.mark.parametrize("change", [{"seeds": 1}, {"diverge_above": 0.0}])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_odd_sweeps_are_judged_without_a_crash(tmp_path, claim, change):
    columns = {c: lambda j: 0.5 + 0 * j["step"]
               for c in ("fisher_trace", "clean_accuracy", "corrupted_accuracy")}
    sweep = planted(tmp_path, PLAN.but(label_noise=(0.0, 0.5), **change), snapshots=columns)
    assert judge(claim, sweep).verdict in (U, Verdict.UNTESTED)
