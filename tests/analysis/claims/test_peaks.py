"""Peaks along planted paths: those that were seen count, and no others."""

import numpy as np
import pytest

from analysis.claims import known
from analysis.claims.claim import NotTested, Verdict, judge
from analysis.claims.peaks import note, peaks
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16), seeds=5, parts=1)
SINCE_1 = {"from_epoch": 1.0, "loss": 0.0}


LOSS = {"train_loss": lambda f: 1 / (1 + f["epoch"])}  # of all runs alike


def bump(f, middle=3.0):
    return np.exp(-((np.log(f["epoch"] + 1e-3) - np.log(middle)) ** 2))


def fast(f):
    """All of one cell."""
    return (f["run_lr"] == 0.08) & (f["run_batch_size"] == 8)


def test_a_peak_inside_is_found_with_its_epoch(tmp_path):
    found = peaks(planted(tmp_path, PLAN, snapshots=LOSS | {
        "k_trace": lambda f: f["run_lr"] * bump(f, 6.0)}), "k_trace", SINCE_1)
    assert len(found.rows) == 30
    assert found.rows["epoch"].to_numpy() == pytest.approx(6.0, abs=0.2)
    assert found.rows["value"].to_numpy() == pytest.approx(
        found.rows["lr"].to_numpy(), rel=1e-2)
    assert (found.rows["y"] == np.log(found.rows["value"])).all()
    assert note(found) == ""


@pytest.mark.parametrize("name", ["peaks_fall", "noise_falls"])
def test_what_falls_from_the_start_has_no_peak(tmp_path, name):
    """At epoch 1 faster runs read less, in good order with η/S, of what fell all the way."""
    def falling(f):
        return 1 / (1 + f["run_ratio"] * f["epoch"])

    sweep = planted(tmp_path, PLAN, snapshots=dict.fromkeys(
        ("hessian_lambda_max", "k_lambda_max", "k_trace"), falling))
    judged = judge(known()[f"break_even/{name}"], sweep)
    assert judged.verdict is Verdict.UNTESTED
    assert "before the first snapshot" in judged.needs


def test_runs_that_peaked_before_the_window_are_left_out_and_counted(tmp_path):
    found = peaks(planted(tmp_path, PLAN, snapshots=LOSS | {
        "k_trace": lambda f: np.where(fast(f), bump(f, 0.3), bump(f))}), "k_trace", SINCE_1)
    assert len(found.rows) == 25
    assert note(found) == ("left out: 5 runs passed the peak of Tr K, or the loss, by the first "
                           "snapshot from epoch 1 on")


@pytest.mark.parametrize(("since", "left"), [
    (0.0, 30),  # what was there at step 0 is the start's own
    (1e-9, 25),
])
def test_a_later_rise_is_no_peak_where_more_was_there_before(tmp_path, since, left):
    """The fast ones fall from 100 before epoch 1, and rise once more inside, to about 1."""
    def twice(f):
        high = fast(f) & (f["epoch"] >= since) & (f["epoch"] < 1)
        return np.where(high & ((since > 0) | (f["step"] == 0)), 100.0, bump(f))

    found = peaks(planted(tmp_path, PLAN, snapshots=LOSS | {"k_trace": twice}), "k_trace", SINCE_1)
    assert len(found.rows) == left
    assert found.rows["value"].max() < 2


def test_a_peak_at_the_first_snapshot_counts_where_the_one_before_is_lower(tmp_path):
    def step(f):
        """1 before epoch 1, 3 at the first snapshot from there on, then 2."""
        since = (f["epoch"] >= 1).groupby(f["run_id"]).cumsum()
        return np.select([since == 0, since == 1], [1.0, 3.0], 2.0)

    sweep = planted(tmp_path, PLAN, snapshots=LOSS | {"k_trace": step})
    found = peaks(sweep, "k_trace", SINCE_1)
    assert len(found.rows) == 30
    assert set(found.rows["value"]) == {3.0}


def test_runs_that_have_the_loss_behind_them_are_left_out(tmp_path):
    """The fast ones fit within an epoch: their peak at epoch 3 comes after all that is compared."""
    found = peaks(planted(tmp_path, PLAN, snapshots={
        "k_trace": bump, "train_loss": lambda f: np.where(
            fast(f) & (f["step"] > 0), 0.01, 2.0 / (1 + f["epoch"]))}), "k_trace", SINCE_1)
    assert len(found.rows) == 25
    assert not fast(found.rows.add_prefix("run_")).any()


def test_each_setting_has_a_loss_of_its_own(tmp_path):
    """With momentum runs come to a tenth of the loss: to the level of the others they are fast."""
    plan = PLAN.but(momentum=(0.0, 0.9))
    sweep = planted(tmp_path, plan, snapshots={"k_trace": bump, "train_loss": lambda f: np.where(
        f["run_momentum"] > 0, 0.1, 1.0) / (1 + f["epoch"])})
    found = peaks(sweep, "k_trace", SINCE_1)
    assert len(found.rows) == 60
    assert "(one a setting)" in found.stop_rule


def test_runs_that_never_reach_the_loss_are_left_out(tmp_path):
    sweep = planted(tmp_path, PLAN, snapshots={"k_trace": bump, "train_loss": lambda f: np.where(
        fast(f), 1.0, 1 / (1 + f["epoch"]))})
    found = peaks(sweep, "k_trace", {**SINCE_1, "loss": 0.1})
    assert found.left_out == ("5 finished runs never reach train loss 0.1",)
    with pytest.raises(NotTested, match=r"reach train loss 0\.01"):
        peaks(sweep, "k_trace", {**SINCE_1, "loss": 0.01})
