"""Claims of Catastrophic Fisher Explosion on planted sweeps: each holds, fails and stays open."""

import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.fisher import early_trace_falls, penalty_slows_noisy
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1, 0.2, 0.4), batch_size=(16,), seeds=6)
H, F, U = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
SIGN = {H: lambda _: 1.0, F: lambda _: -1.0, U: lambda j: (-1.0) ** j["run_seed"]}


@pytest.mark.parametrize("verdict", SIGN)
def test_early_trace_falls(tmp_path, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "fisher_trace": lambda j: 50 * j["run_lr"] ** (-SIGN[verdict](j) * 0.5)})
    assert judge(early_trace_falls, sweep).verdict is verdict


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
