"""Claims of Stiffness, the noise scale and the Fisher information on planted sweeps."""

import numpy as np
import pytest

from analysis.claims import fisher, noise_scale, stiffness
from analysis.claims.claim import Verdict, judge
from analysis.frames import load
from tests.analysis.claims.sweeps import planted, probe
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


@pytest.mark.parametrize("verdict", SIGN)
def test_fades_when_overfitting(tmp_path, verdict):
    plan = PLAN.but(label_noise=(0.4,))
    sweep = planted(tmp_path, plan, snapshots={
        "test_loss": lambda j: 1 + (j["epoch"] - 4).abs() / 10,
        "stiffness_cos_within": lambda j: np.where(
            j["epoch"] <= 4, 0.5, 0.25 - 0.1 * SIGN[verdict](j))})
    assert judge(stiffness.fades_when_overfitting, sweep).verdict is verdict


@pytest.mark.parametrize(("z", "verdict"), [(2.5, H), (-3.5, F)])
def test_two_batches_are_unbiased(tmp_path, z, verdict):
    planted(tmp_path, PLAN)
    probe(tmp_path, "noise_estimators", [], {
        ("noise_estimator_z", "trace_with_replacement_1"): {16: 0.3, 64: z}})
    assert judge(noise_scale.two_batches_are_unbiased, load(tmp_path)).verdict is verdict


@pytest.mark.parametrize(("factor", "verdict"), [(10.0, H), (2.0, F)])
def test_grows(tmp_path, factor, verdict):
    plan = PLAN.but(epochs=20.0)
    sweep = planted(tmp_path, plan, snapshots={
        "noise_scale_simple": lambda j: 50 * factor ** ((j["epoch"] - 1) / 19)})
    judged = judge(noise_scale.grows, sweep)
    assert judged.verdict is verdict
    assert judged.judgement.effects[0].interval.value == pytest.approx(np.log(factor), abs=0.05)


@pytest.mark.parametrize(("why", "steps", "verdict"), [
    ("the trade-off with B_crit = 64", lambda s: 20 * (1 + 64 / s), H),
    ("larger batches cost steps at last", lambda s: 200 * np.abs(np.log(s / 64)) + 100, F),
])
def test_steps_and_examples_trade(tmp_path, why, steps, verdict):
    plan = PLAN.but(batch_size=(4, 8, 16, 32, 64, 128, 256, 512))
    # loss = 2^(-step / T), T the steps to 1/2 at the best rate, twice as many at the others
    off = {0.1: 2.0, 0.2: 1.0, 0.4: 2.0}
    sweep = planted(tmp_path, plan, snapshots={"train_loss": lambda j: 2.0 ** -(j["step"] / (
        steps(j["run_batch_size"]) * j["run_lr"].map(off) * (1 + j["run_seed"] / 100)))})
    judged = judge(noise_scale.steps_and_examples_trade, sweep, {"loss": 0.999})
    assert judged.verdict is verdict, why
    if verdict is H:
        assert "B_crit = 6" in judged.judgement.said


@pytest.mark.parametrize("verdict", SIGN)
def test_early_trace_falls(tmp_path, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "fisher_trace": lambda j: 50 * j["run_lr"] ** (-SIGN[verdict](j) * 0.5)})
    assert judge(fisher.early_trace_falls, sweep).verdict is verdict


@pytest.mark.parametrize("verdict", SIGN)
def test_penalty_slows_noisy(tmp_path, verdict):
    plan = PLAN.but(label_noise=(0.4,), lr=(0.1, 0.2))
    sweep = planted(tmp_path, plan, runs={
        "config_train_fisher_penalty": lambda r: (r["lr"] == 0.2) * 0.3, "lr": 0.1}, snapshots={
        "clean_accuracy": lambda j: (j["epoch"] / 10).clip(upper=1),
        "corrupted_accuracy": lambda j: j["epoch"] / 40 - 0.05 * SIGN[verdict](j) * (
            j["run_config_train_fisher_penalty"] > 0)})
    judged = judge(fisher.penalty_slows_noisy, sweep)
    assert judged.verdict is verdict
    if verdict is H:
        assert judged.judgement.effects[0].interval.value == pytest.approx(0.05)


@pytest.mark.parametrize("claim", [
    stiffness.classes_are_stiff, stiffness.falls_with_distance, stiffness.fades_when_overfitting,
    stiffness.critical_length_falls_with_rate, noise_scale.two_batches_are_unbiased,
    noise_scale.grows, fisher.early_trace_falls, fisher.penalty_slows_noisy])
def test_a_sweep_that_lacks_what_is_needed_says_so(tmp_path, claim):
    judged = judge(claim, planted(tmp_path, Planted()))
    assert judged.verdict is Verdict.UNTESTED
    assert judged.needs


@pytest.mark.parametrize("change", [{"seeds": 1}, {"diverge_above": 0.0}])
def test_odd_sweeps_are_judged_without_a_crash(tmp_path, change):
    columns = {c: lambda j: 0.5 + 0 * j["step"] for c in (
        "stiffness_cos_within", "stiffness_cos_between", "stiffness_slope", "critical_length",
        "noise_scale_simple", "fisher_trace", "clean_accuracy", "corrupted_accuracy",
        "critical_sample_ratio", "sensitivity_gini")}
    plan = PLAN.but(label_noise=(0.0, 0.5, 1.0), **change)
    sweep = planted(tmp_path, plan, snapshots=columns)
    from analysis.claims import known
    papers = ("stiffness", "noise_scale", "fisher", "memorization")
    for claim in known().values():
        if claim.id.partition("/")[0] in papers:
            assert judge(claim, sweep).verdict in (Verdict.UNDECIDED, Verdict.UNTESTED, H, F)
