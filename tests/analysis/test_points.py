"""A metric at a chosen point of the trajectory, against trajectories in closed form."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.frames import load
from analysis.points import END, PEAK, At, logit, matched_loss, metrics, points
from tests.analysis.planted import Planted, tables, write_frames

ONE = Planted(lr=(0.1,), batch_size=(10,), seeds=1, parts=1)
SHARP = "hessian_lambda_max"


def sweep(tmp_path, paths, planted=ONE):
    """One run a path; a path maps columns to values at epochs 0, 1, 2, …"""
    runs, snapshots = tables(planted)
    assert len(runs) == len(paths)
    shown = []
    for run_id, path in zip(runs["run_id"], paths, strict=True):
        n = len(next(iter(path.values())))
        blank = pd.concat([snapshots.iloc[:1]] * n, ignore_index=True)
        epoch = {"epoch": np.arange(n, dtype=float), "step": np.arange(n) * 150}
        shown.append(blank.assign(run_id=run_id, **{**epoch, **path}))
    return load(write_frames(tmp_path, planted, runs, pd.concat(shown)))


@pytest.mark.parametrize(
    ("at", "value", "epoch"),
    [
        (END, math.exp(6), 3.0),
        (At("epoch", 1.5), math.exp(3), 1.5),  # between two snapshots: by the logarithm
        (At("epoch", 2.0), math.exp(4), 2.0),  # on one
        (At("epoch", 0.0), 1.0, 0.0),
        (At("loss", math.exp(-1.25)), math.exp(2.5), 1.25),
        (At("loss", math.exp(-2)), math.exp(4), 2.0),
        (At("loss", 5.0), 1.0, 0.0),  # below the level from the start: counts as there
    ],
)
@pytest.mark.parametrize("stride", [1, 3])
def test_exponential_trajectories_are_read_exactly_at_any_cadence(
    tmp_path, at, value, epoch, stride
):
    # loss = exp(−t), λ = exp(2t): straight lines in logarithms, so the cadence must not matter
    t = np.arange(0.0, 4.0)[::stride]
    path = {"epoch": t, "step": (t * 150).astype(int), "train_loss": np.exp(-t)}
    found = points(sweep(tmp_path, [{**path, SHARP: np.exp(2 * t)}]), SHARP, at).frame
    assert found["value"].tolist() == pytest.approx([value])
    assert found["epoch"].tolist() == pytest.approx([epoch])
    assert found["y"].tolist() == pytest.approx([math.log(value)])


def test_the_first_crossing_counts(tmp_path):
    # a loss that comes back up crosses twice
    path = {"train_loss": [1.0, 0.1, 1.0, 0.01], SHARP: [1.0, 2.0, 3.0, 4.0]}
    found = points(sweep(tmp_path, [path]), SHARP, At("loss", 0.1)).frame
    assert found["value"].tolist() == pytest.approx([2.0])


def test_the_peak_leaves_step_0_out(tmp_path):
    # λ at the initial point says nothing about SGD
    path = {SHARP: [100.0, 5.0, 7.0, 6.0]}
    found = points(sweep(tmp_path, [path]), SHARP, PEAK).frame
    assert found[["value", "epoch"]].to_numpy().tolist() == [[7.0, 2.0]]


def test_accuracies_are_read_straight_and_enter_as_logits(tmp_path):
    path = {"test_accuracy": [0.2, 0.6]}
    found = points(sweep(tmp_path, [path]), "test_accuracy", At("epoch", 0.25)).frame
    assert found["value"].tolist() == pytest.approx([0.3])
    assert found["y"].tolist() == pytest.approx([logit(0.3, 297)])  # 297 test examples


def test_an_accuracy_of_the_training_set_counts_its_examples(tmp_path):
    found = points(sweep(tmp_path, [{"train_accuracy": [0.5, 1.0]}]), "train_accuracy", END).frame
    assert found["y"].tolist() == pytest.approx([math.log(1500.5 / 0.5)])


@pytest.mark.parametrize(
    ("path", "at", "reason"),
    [
        ({SHARP: [np.nan, np.nan]}, END, "λ_max was not measured"),
        ({"train_loss": [1.0, 0.5]}, At("loss", 0.1), "never at train loss 0.1"),
        ({"train_loss": [1.0, 0.5]}, At("loss", 0.0), "never at train loss 0"),
        ({"epoch": [0.0, 1.0]}, At("epoch", 7), "never at epoch 7"),
        ({SHARP: [1.0]}, PEAK, "never at its peak"),  # measured at step 0 alone
        (
            {"step": [9, 18], "epoch": [1.0, 2.0], SHARP: [5.0, 4.0]},
            PEAK,
            "at its peak at or before the first snapshot",
        ),
        (
            {"step": [9, 18], "epoch": [1.0, 2.0], "train_loss": [0.1, 0.01]},
            At("loss", 0.2),
            "at train loss 0.2 at or before the first snapshot",
        ),
        ({SHARP: [1.0, 0.0]}, END, "λ_max not a positive number at the end"),
        ({SHARP: [1.0, -2.0]}, END, "λ_max not a positive number at the end"),
    ],
)
def test_a_run_without_the_point_is_counted_with_its_reason(tmp_path, path, at, reason):
    good = {SHARP: [1.0, 2.0, 3.0], "train_loss": [1.0, 0.5, 0.0], "epoch": [0.0, 1.0, 9.0]}
    found = points(sweep(tmp_path, [path, good], ONE.but(seeds=2)), SHARP, at)
    assert [(e.reason, e.count) for e in found.exclusions] == [(reason, 1)]
    assert found.frame["seed"].tolist() == [1]


@pytest.mark.parametrize("at", [END, PEAK, At("epoch", 1.0), At("loss", 0.5)])
def test_an_unknown_metric_excludes_every_run(tmp_path, at):
    found = points(sweep(tmp_path, [{SHARP: [1.0, 2.0]}]), "trace_of_nothing", at)
    assert found.frame.empty
    assert [e.reason for e in found.exclusions] == ["trace_of_nothing was not measured"]


@pytest.mark.parametrize(
    ("lowest", "level"),
    [
        ([0.0123] * 10, 0.013),  # rounded up, so that it is reached
        ([0.01] * 9 + [1.0], 0.01),  # nine of ten reach it
        ([0.01] * 8 + [0.05, 1.0], 0.05),
        ([0.0] * 5 + [0.02] * 5, 0.02),  # a loss of 0 has no logarithm
        ([np.nan] * 10, None),
    ],
)
def test_matched_loss(tmp_path, lowest, level):
    paths = [{"train_loss": [np.nan, value]} for value in lowest]
    found = matched_loss(sweep(tmp_path, paths, ONE.but(seeds=10)))
    assert found == (level if level is None else pytest.approx(level, rel=1e-12))


@pytest.mark.parametrize(("starts", "lowest", "level"), [
    ([2.3] * 10, [2.3] * 8 + [0.11, 0.2], 0.2),  # most runs are dead: those that learn set it
    ([2.3] * 10, [0.1] * 9 + [2.3], 0.1),  # one is: as ever
    ([0.5] + [2.3] * 9, [0.1] * 5 + [0.6] * 5, 0.1),  # one starts below what others end at
    ([2.3] * 10, [2.25] * 10, None),  # none learns
    ([2.3] * 10, [2.31] * 10, None),  # all get worse
    ([np.nan] * 10, [2.3] * 10, 2.3),  # step 0 was not measured: nothing to hold it against
])
def test_a_matched_loss_is_one_that_no_run_starts_at(tmp_path, starts, lowest, level):
    paths = [{"train_loss": list(pair)} for pair in zip(starts, lowest, strict=True)]
    found = matched_loss(sweep(tmp_path, paths, ONE.but(seeds=10)))
    assert found == (level if level is None else pytest.approx(level, rel=1e-12))
    if level is not None and not np.isnan(starts).any():
        assert found < min(starts)


@pytest.mark.parametrize(("noises", "level"), [((0.0, 0.5), 0.01), ((0.25, 0.5), 2.0)])
def test_noisy_runs_set_the_level_only_where_all_are_noisy(tmp_path, noises, level):
    # with noisy labels the training loss stays high: clean runs would all match at once
    paths = [{"train_loss": [3.0, 0.01]}, {"train_loss": [3.0, 2.0]}]
    assert matched_loss(sweep(tmp_path, paths, ONE.but(label_noise=noises))) == level


def test_logit_in_closed_form():
    # finite at 0 and 1, odd about one half, the plain logit for many examples
    assert logit(np.array([0.0, 1.0]), 99) == pytest.approx([-math.log(199), math.log(199)])
    assert logit(np.array([0.5]), 10) == pytest.approx([0.0])
    assert logit(np.array([0.9]), 1e12) == pytest.approx([math.log(9)])


@pytest.mark.parametrize(
    ("text", "at"),
    [("end", END), ("peak", PEAK), ("epoch:5", At("epoch", 5.0)), ("loss:1e-1", At("loss", 0.1))],
)
def test_points_are_read_from_words(text, at):
    assert At.read(text) == at


@pytest.mark.parametrize("text", ["", "End", "end:3", "epoch", "epoch:", "epoch:x", "loss:-1",
                                  "loss:nan", "loss:inf"])
def test_words_that_are_no_point_are_refused(text):
    with pytest.raises(TableError, match="no point of a run is called") as raised:
        At.read(text)
    assert raised.value.fix == "write end, peak, epoch:5 or loss:0.1"


def test_a_column_of_runs_is_a_metric_at_the_end(tmp_path):
    made = sweep(tmp_path, [{"train_loss": [1.0, 0.5]}])
    found = points(made, "steps", END).frame
    assert found["value"].tolist() == made.runs["steps"].tolist()
    assert found["epoch"].tolist() == made.runs["epochs"].tolist()


def test_metrics_are_what_was_measured(tmp_path):
    known = metrics(sweep(tmp_path, [{"train_loss": [1.0, 0.5]}]))
    assert {"train_loss", "hessian_trace", "steps", "time_train_s"} <= set(known)
    # neither what a run was given, nor where it stands, nor twins of the last snapshot
    given = {"lr", "batch_size", "seed", "epoch", "step", "momentum", "final_train_loss", "cell"}
    assert not given & set(known)
