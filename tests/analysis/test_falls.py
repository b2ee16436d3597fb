"""The break by where runs end, against falls that were planted."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.falls import falls, squares
from analysis.frames import load
from tests.analysis.planted import Planted, tables, write_frames

FAMILY = Planted(lr=(0.01, 0.02, 0.04, 0.08), batch_size=(8, 16, 32, 64), seeds=5, epochs=4.0)


def sweep(folder, accuracy, planted=FAMILY, metric="test_accuracy"):
    """Runs at one ratio whose last accuracy is ``accuracy(batch, seed)``."""
    runs, snapshots = tables(planted)
    runs = runs[np.isclose(runs["ratio"], 0.00125)].reset_index(drop=True)
    snapshots = snapshots[snapshots["run_id"].isin(runs["run_id"])].reset_index(drop=True)
    last = snapshots.groupby("run_id").tail(1)
    of = {r: accuracy(b, s) for r, b, s in zip(runs["run_id"], runs["batch_size"], runs["seed"],
                                               strict=True)}
    snapshots.loc[last.index, metric] = last["run_id"].map(of)
    return load(write_frames(folder, planted, runs, snapshots))


@pytest.mark.parametrize(("from_batch", "last", "first"), [(16, 1, 16), (32, 2, 32), (99, 8, None)])
def test_a_planted_fall_is_found(tmp_path, from_batch, last, first):
    noise = np.random.default_rng(0).normal(0, 0.002, (200, 5))
    made = sweep(tmp_path, lambda b, s: 0.95 - 0.03 * (b >= from_batch) + noise[b, s])
    (found,) = falls(made)
    assert found.quantity == "test_accuracy"
    assert found.last.value == last
    assert (found.first_broken.batch_size if found.first_broken else None) == first


def test_what_is_better_has_not_fallen(tmp_path):
    (found,) = falls(sweep(tmp_path, lambda b, s: 0.9 + b / 1000 + s / 1e4))
    assert found.first_broken is None
    assert {step.distance for step in found.steps} == {0.0}


def test_a_loss_is_worse_when_it_is_higher(tmp_path):
    made = sweep(tmp_path, lambda b, s: (0.1 + 0.1 * (b > 16)) * (1 + s / 100), metric="test_loss")
    (found,) = falls(made, "test_loss")
    assert found.first_broken.batch_size == 32
    assert found.first_broken.distance == pytest.approx(math.log(2))


def test_the_yardstick_is_the_paired_standard_error():
    worse = np.random.default_rng(0).normal(0.3, 1, (3, 6))
    mean, error = squares(worse, np.ones((1, 6)))
    np.testing.assert_allclose(np.sqrt(mean[0]), np.maximum(worse.mean(1), 0))
    np.testing.assert_allclose(np.sqrt(error[0]), stats.sem(worse, axis=1))


def test_a_seed_that_is_missing_is_left_out_of_its_cell():
    worse = np.array([[1.0, np.nan, 3.0]])
    mean, error = squares(worse, np.ones((1, 3)))
    assert (mean.item(), error.item()) == pytest.approx((4.0, 1.0))


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_seed_has_no_standard_error(tmp_path, seeds):
    (found,) = falls(sweep(tmp_path, lambda b, s: 0.9 - b / 1000 - s / 1e4,
                           FAMILY.but(seeds=seeds)))
    assert math.isnan(found.last.value) is (seeds == 1)


def test_a_metric_that_was_not_measured_has_not_fallen(tmp_path):
    assert falls(sweep(tmp_path, lambda b, s: 0.9), "of another monitor") == ()  # noqa: ARG005
