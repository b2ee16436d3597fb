"""Claims of An Empirical Model of Large-Batch Training on planted sweeps and z-scores."""

import numpy as np
import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.noise_scale import (
    grows,
    of_largest,
    steps_and_examples_trade,
    two_batches_are_unbiased,
)
from analysis.frames import load
from tests.analysis.claims.sweeps import planted, probe
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1, 0.2, 0.4), batch_size=(16,), seeds=6)
H, F, U = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED


@pytest.mark.parametrize("comparisons", [4, 400])
def test_chance_exceeds_the_bound_as_rarely_with_many_comparisons_as_with_few(comparisons):
    """Unbiased estimators, 4000 times: the claim fails in 0.27 % of them, as with one comparison
    beyond ±3. A bound of 3 whatever the number would fail 66 % of those with 400."""
    draws = np.random.default_rng(comparisons).standard_normal((4000, comparisons))
    failed = (np.abs(draws).max(axis=1) > of_largest(3.0, comparisons)).mean()
    assert failed == pytest.approx(0.0027, abs=0.0025)
    assert failed > 0
    assert of_largest(3.0, 1) == pytest.approx(3.0)


@pytest.mark.parametrize(("why", "largest", "others", "verdict"), [
    ("within 3", 2.5, 1, H),
    ("beyond 3 where little else was compared", -3.5, 1, F),
    ("the same is what chance gives among many", -3.5, 199, H),
    ("but not everything", 4.8, 199, F),
])
def test_two_batches_are_unbiased(tmp_path, why, largest, others, verdict):
    planted(tmp_path, PLAN)
    probe(tmp_path, "noise_estimators", [], {("noise_estimator_z", "trace_with_replacement_1"): {
        16: largest, **{17 + k: 0.3 for k in range(others)}}})
    assert judge(two_batches_are_unbiased, load(tmp_path)).verdict is verdict, why


@pytest.mark.parametrize(("why", "factor", "verdict"), [
    ("tenfold", lambda _: 10.0, H), ("twofold", lambda _: 2.0, F),
    ("seeds disagree", lambda j: np.where(j["run_seed"] % 2, 20.0, 2.0), U)])
def test_grows(tmp_path, why, factor, verdict):
    sweep = planted(tmp_path, PLAN.but(epochs=20.0), snapshots={
        "noise_scale_simple": lambda j: 50 * factor(j) ** ((j["epoch"] - 1) / 19)})
    judged = judge(grows, sweep)
    assert judged.verdict is verdict, why
    if verdict is not U:
        assert judged.judgement.effects[0].interval.value == pytest.approx(
            np.log(factor(None)), abs=0.05)


def test_growth_under_a_schedule_does_not_count(tmp_path):
    """With a rate that is cut late the noise scale jumps; half of the runs have one."""
    sweep = planted(tmp_path, PLAN.but(epochs=20.0), runs={
        "config_train_lr_schedule_name": lambda r: np.where(r["lr"] > 0.15, "switch", "constant")},
        snapshots={"noise_scale_simple": lambda j: 50 * np.where(
            j["run_lr"] > 0.15, 100.0, 2.0) ** ((j["epoch"] - 1) / 19)})
    judged = judge(grows, sweep)
    assert judged.verdict is F
    assert {row["lr"] for row in judged.judgement.evidence} == {0.1}


SIZES = (4, 8, 16, 32, 64, 128, 256, 512)


def trained(tmp_path, steps):
    """loss = 2^(−step/T): T steps to ½ at the best of three rates, twice as many at the others."""
    off = {0.1: 2.0, 0.2: 1.0, 0.4: 2.0}
    return planted(tmp_path, PLAN.but(batch_size=SIZES, seeds=5), snapshots={
        "train_loss": lambda j: 2.0 ** -(j["step"] / (
            steps(j) * j["run_lr"].map(off) * (1 + j["run_seed"] / 100)))})


@pytest.mark.parametrize(("why", "steps", "verdict"), [
    ("the trade-off with B_crit = 64", lambda j: 20 * (1 + 64 / j["run_batch_size"]), H),
    ("larger batches cost steps at last",
     lambda j: 200 * np.abs(np.log(j["run_batch_size"] / 64)) + 100, F),
    ("in half of the seeds ever larger batches save ever more", lambda j: np.where(
        j["run_seed"] % 2, 20 * (1 + 64 / j["run_batch_size"]),
        1000 * np.exp(-0.1 * np.log(j["run_batch_size"]) ** 2)), U),
])
def test_steps_and_examples_trade(tmp_path, why, steps, verdict):
    judged = judge(steps_and_examples_trade, trained(tmp_path, steps), {"loss": 0.999})
    assert judged.verdict is verdict, why
    if verdict is H:
        assert "B_crit = 6" in judged.judgement.said


def test_a_batch_size_whose_best_rate_is_the_largest_tried_is_not_tuned(tmp_path):
    """Fewer than four others are left: steps at the end of a grid are not those of the best η."""
    sweep = planted(tmp_path, PLAN.but(batch_size=SIZES, seeds=5), snapshots={
        "train_loss": lambda j: 2.0 ** -(j["step"] * j["run_lr"])})
    needs = judge(steps_and_examples_trade, sweep, {"loss": 0.999}).needs
    assert "lies inside its grid" in needs


def test_steps_of_runs_with_a_schedule_are_no_test(tmp_path):
    sweep = planted(tmp_path, PLAN, runs={"config_train_lr_schedule_name": "cyclic"})
    assert "constant" in judge(steps_and_examples_trade, sweep).needs


CLAIMS = (two_batches_are_unbiased, grows, steps_and_examples_trade)


@pytest.mark.parametrize("claim", CLAIMS[:2], ids=lambda c: c.number)
def test_a_sweep_that_lacks_what_is_needed_says_so(tmp_path, claim):
    judged = judge(claim, planted(tmp_path, Planted()))
    assert judged.verdict is Verdict.UNTESTED
    assert judged.needs


@pytest.mark.parametrize("change", [{"seeds": 1}, {"diverge_above": 0.0}])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_odd_sweeps_are_judged_without_a_crash(tmp_path, claim, change):
    sweep = planted(tmp_path, PLAN.but(**change), snapshots={
        "noise_scale_simple": lambda j: 0.5 + 0 * j["step"]})
    assert judge(claim, sweep).verdict in (U, Verdict.UNTESTED)
