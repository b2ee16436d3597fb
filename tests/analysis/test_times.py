"""Times of which some are not seen: where they are read, and the law they follow."""

import math

import numpy as np
import pytest

from analysis.frames import load
from analysis.laws import Verdict
from analysis.times import Times, epochs_to_fit, epochs_to_loss, epochs_to_target, fit_times, times
from tests.analysis.planted import Planted, planted_times, tables, write_frames

LR, BATCH = 0.02 * 2.0 ** np.arange(4), 8 * 2 ** np.arange(4)
SMALL = Planted(lr=(0.02, 0.04), batch_size=(8, 16), seeds=2, epochs=20.0, parts=1)


def written(folder, planted=SMALL, change=None):
    runs, snapshots = tables(planted)
    if change is not None:
        runs, snapshots = change(runs, snapshots)
    return load(write_frames(folder, planted, runs, snapshots))


def test_a_loss_is_reached_between_snapshots(tmp_path):
    # log loss falls by 1 an epoch: exp(−2.5) is reached at 2.5, whatever the snapshots' cadence
    made = written(tmp_path, change=lambda runs, snapshots: (
        runs, snapshots.assign(train_loss=np.exp(-snapshots["epoch"]))))
    found = epochs_to_loss(made, math.exp(-2.5)).frame
    assert found["low"].tolist() == pytest.approx([2.5] * 8)
    assert (found["low"] == found["high"]).all()


def test_who_does_not_get_there_is_censored_at_its_end(tmp_path):
    made = written(tmp_path, change=lambda runs, snapshots: (
        runs, snapshots.assign(train_loss=np.exp(-snapshots["epoch"]))))
    found = epochs_to_loss(made, math.exp(-25))
    assert found.censored == 8
    assert found.frame["low"].tolist() == made.runs["epochs"].tolist()
    assert times(made, math.exp(-25)) == ()  # nothing was seen: nothing to fit


def test_diverged_runs_are_named_and_not_taken_for_slow(tmp_path):
    made = written(tmp_path, SMALL.but(diverge_above=0.004))
    found = epochs_to_loss(made, 0.05)
    reasons = {e.reason: e.count for e in found.exclusions}
    assert reasons == {"diverged: never there": 2}
    assert len(found.frame) == 6


def test_a_run_that_begins_there_has_no_time(tmp_path):
    found = epochs_to_loss(written(tmp_path), 100.0)
    assert len(found.frame) == 0
    assert {e.reason for e in found.exclusions} == {"there from the start"}
    assert fit_times(found).verdict is Verdict.NOT_FITTED


def _until(runs, snapshots):
    slow = runs["lr"] < 0.03
    runs = runs.assign(config_train_until_train_accuracy="1.0",
                       status=np.where(slow, "stopped", "finished"),
                       epochs=np.where(slow, 20.0, 7.0))
    return runs, snapshots


def test_the_target_is_looked_at_after_every_epoch(tmp_path):
    planted = SMALL.but(config={"config_train_until_train_accuracy": "str"})
    found = epochs_to_target(written(tmp_path, planted, _until))
    fast = found.frame[found.frame["lr"] > 0.03]
    assert set(zip(fast["low"], fast["high"], strict=True)) == {(6.0, 7.0)}
    slow = found.frame[found.frame["lr"] < 0.03]
    assert set(zip(slow["low"], slow["high"], strict=True)) == {(20.0, np.inf)}
    assert found.censored == 4


def test_without_a_target_there_is_no_such_time(tmp_path):
    made = written(tmp_path)
    assert epochs_to_target(made) is None
    assert epochs_to_fit(made) is None


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ({}, Verdict.HOLDS),
        ({"b": 0.6}, Verdict.FAILS),
        ({"a": 0.0, "b": 0.0}, Verdict.NO_LAW),
        ({"cell_sd": 0.8}, Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_planted_times(how, verdict):
    how = {"cell_sd": 0.02, "run_sd": 0.05, "seed_sd": 0.02, **how}
    found = fit_times(planted_times(np.random.default_rng(1), LR, BATCH, 5, 1000.0, **how))
    assert found.verdict is verdict
    if verdict is Verdict.HOLDS:
        assert 0 < found.censored < found.runs
        assert found.laws["free"].exponents["a"].holds(-1.0)
        assert min(found.laws, key=lambda name: found.laws[name].aic) == "ratio"


def test_dropping_the_censored_runs_would_flatten_the_law():
    # the case that censoring is for: the slow runs are the ones that are missing
    bias, kept = [], []
    for k in range(12):
        made = planted_times(np.random.default_rng(k), LR, BATCH, 3, 300.0)
        seen = made.frame[~made.frame["censored"]].reset_index(drop=True)
        bias.append(fit_times(Times("", seen, ())).laws["free"].exponents["a"].value)
        kept.append(fit_times(made).laws["free"].exponents["a"].value)
    error = np.std(np.subtract(bias, kept)) / np.sqrt(len(bias))
    assert np.mean(bias) - np.mean(kept) > 3 * error
    assert np.mean(kept) == pytest.approx(-1.0, abs=0.05)


def test_too_few_cells_are_not_fitted():
    found = fit_times(planted_times(np.random.default_rng(0), LR[:2], BATCH[:2], 3, 1e9))
    assert found.verdict is Verdict.NOT_FITTED
    assert math.isnan(found.laws["free"].exponents["a"].value)
