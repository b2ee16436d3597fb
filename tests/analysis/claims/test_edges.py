"""Edge of stability, of Adam's too, edge of stochastic stability: on planted products."""

import numpy as np
import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.edge_of_stability import adam_hovers, hovers
from analysis.claims.stochastic_stability import (
    batch_sharpness_hovers,
    sharpness_grows_with_batch,
)
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

FULL = Planted(lr=(0.3, 0.4), batch_size=(1500,), epochs=60.0, seeds=5)
SGD = {"config_train_loss": "mse", "config_train_optimizer_name": "sgd"}
ADAM = {"config_train_loss": "mse", "config_train_optimizer_name": "adam",
        "config_train_optimizer_beta1": 0.9}
MINI = Planted(lr=(0.2, 0.3), batch_size=(8, 32, 128), seeds=5)


def wave(frame, size):
    """A sign that changes from snapshot to snapshot."""
    return size * np.where(frame.groupby("run_id").cumcount() % 2, 1.0, -1.0)


@pytest.mark.parametrize(("why", "share", "swing", "verdict"), [
    ("at the edge", 1.02, 0.01, Verdict.HOLDS),
    ("settles well below it, having come near", 0.92, 0.0, Verdict.FAILS),
    ("on average at the edge, swinging widely about it", 1.0, 0.2, Verdict.FAILS),
])
def test_gradient_descent_hovers(tmp_path, why, share, swing, verdict):
    sweep = planted(tmp_path, FULL, runs=SGD, snapshots={"hessian_lambda_max": lambda f: (
        share + wave(f, swing)) * 2 / f["lr"]})
    found = judge(hovers, sweep)
    assert found.verdict is verdict, why
    mean, size = found.judgement.effects
    assert mean.units == 5
    assert mean.interval.value == pytest.approx(share - 1, abs=swing / 5 + 1e-9)
    assert size.interval.value == pytest.approx(max(abs(share - 1), swing), abs=1e-9)


def test_seeds_that_disagree_leave_it_open(tmp_path):
    sweep = planted(tmp_path, FULL, runs=SGD, snapshots={"hessian_lambda_max": lambda f: np.where(
        f["run_seed"] == 0, 1.2, 1.0) * 2 / f["lr"]})
    assert judge(hovers, sweep).verdict is Verdict.UNDECIDED


def test_runs_that_never_come_near_the_edge_are_left_out_and_counted(tmp_path):
    sweep = planted(tmp_path, FULL, runs=SGD, snapshots={"hessian_lambda_max": lambda f: np.where(
        f["lr"] == 0.3, 0.5, 1.0) * 2 / f["lr"]})
    found = judge(hovers, sweep)
    assert found.verdict is Verdict.HOLDS
    assert found.judgement.note.startswith("5 runs")


@pytest.mark.parametrize(("runs", "plan"), [
    ({**SGD, "config_train_loss": "cross_entropy"}, FULL), (SGD, MINI), (ADAM, FULL),
])
def test_other_sweeps_do_not_test_the_edge(tmp_path, runs, plan):
    sweep = planted(tmp_path, plan, runs=runs)
    assert "full-batch gradient descent" in judge(hovers, sweep).needs


@pytest.mark.parametrize(("product", "verdict"), [
    (38.0, Verdict.HOLDS), (41.0, Verdict.HOLDS), (47.0, Verdict.FAILS)])
def test_adam_hovers_at_its_own_edge(tmp_path, product, verdict):
    sweep = planted(tmp_path, FULL, runs=ADAM, snapshots={
        "preconditioned_lambda_max": lambda f: product / f["lr"]})
    found = judge(adam_hovers, sweep)
    assert found.verdict is verdict
    assert found.judgement.effects[0].interval.value == pytest.approx(product / 38 - 1)


def test_a_start_above_the_edge_has_not_reached_it(tmp_path):
    sweep = planted(tmp_path, FULL, runs=SGD, snapshots={"hessian_lambda_max": lambda f: np.where(
        f["epoch"] < 10, 2.5, 0.5) * 2 / f["lr"]})
    assert "reaches 0.9 of its bound" in judge(hovers, sweep).needs


def test_what_came_before_the_edge_is_left_out(tmp_path):
    sweep = planted(tmp_path, FULL, runs=SGD, snapshots={"hessian_lambda_max": lambda f: np.where(
        f["epoch"] < 40, 0.5, 1.01) * 2 / f["lr"]})
    found = judge(hovers, sweep)
    assert found.verdict is Verdict.HOLDS
    assert found.judgement.effects[0].interval.value == pytest.approx(0.01)


def test_adam_under_a_schedule_is_left_out(tmp_path):
    sweep = planted(tmp_path, FULL, runs={**ADAM, "config_train_lr_schedule_name": "switch"},
                    snapshots={"preconditioned_lambda_max": lambda f: 38.0 / f["lr"]})
    assert "constant learning rate" in judge(adam_hovers, sweep).needs


def test_adam_with_weight_decay_is_left_out(tmp_path):
    sweep = planted(tmp_path, FULL, runs={**ADAM, "weight_decay": 0.1}, snapshots={
        "preconditioned_lambda_max": lambda f: 38.0 / f["lr"]})
    assert "weight decay" in judge(adam_hovers, sweep).needs


@pytest.mark.parametrize(("why", "product", "verdict"), [
    ("lower for small batches", lambda f: 0.4 * np.log2(f["run_batch_size"]) - 0.9, Verdict.HOLDS),
    ("higher for small batches", lambda f: 2.0 - f["run_batch_size"] / 200, Verdict.FAILS),
    ("grows with S, but above 2/η", lambda f: 1.0 + f["run_batch_size"] / 60, Verdict.FAILS),
    ("in half of the seeds", lambda f: 1.0 + f["run_batch_size"] / 200 * np.where(
        f["run_seed"] % 2, 1, -1), Verdict.UNDECIDED),
])
def test_sharpness_settles_lower_for_smaller_batches(tmp_path, why, product, verdict):
    sweep = planted(tmp_path, MINI, runs=SGD, snapshots={
        "hessian_lambda_max": lambda f: product(f) / f["lr"]})
    assert judge(sharpness_grows_with_batch, sweep).verdict is verdict, why


@pytest.mark.parametrize(("product", "verdict"), [
    (1.95, Verdict.HOLDS), (1.4, Verdict.FAILS), (None, Verdict.UNDECIDED)])
def test_batch_sharpness_hovers(tmp_path, product, verdict):
    sweep = planted(tmp_path, MINI, runs=SGD, snapshots={"batch_sharpness": lambda f: (
        product or 1.5 + f["run_seed"] / 4) / f["lr"]})
    found = judge(batch_sharpness_hovers, sweep)
    assert found.verdict is verdict
    assert len(found.judgement.evidence) == 6


def test_momentum_and_two_batch_sizes_are_no_test(tmp_path):
    assert "momentum" in judge(sharpness_grows_with_batch, planted(
        tmp_path / "a", MINI.but(momentum=(0.9,)), runs=SGD)).needs
    assert "3 batch sizes" in judge(sharpness_grows_with_batch, planted(
        tmp_path / "b", MINI.but(batch_size=(8, 32)), runs=SGD)).needs


CLAIMS = (hovers, adam_hovers, sharpness_grows_with_batch, batch_sharpness_hovers)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
@pytest.mark.parametrize("plan", [
    FULL.but(diverge_above=0.0), MINI.but(diverge_above=0.0), FULL.but(seeds=1), MINI.but(seeds=1)])
@pytest.mark.parametrize("runs", [{}, SGD, ADAM])
def test_odd_sweeps_are_told_and_never_crash(tmp_path, claim, plan, runs):
    found = judge(claim, planted(tmp_path, plan, runs=runs))
    assert found.verdict in (Verdict.UNTESTED, Verdict.UNDECIDED)
    assert found.decides
