"""What a test may compare: rates that stay, losses that a setting reaches, runs that finished."""

import numpy as np
import pytest

from analysis import load
from analysis.claims import known, selection
from analysis.claims.claim import NotTested, judge
from tests.analysis.claims.sweeps import planted
from tests.analysis.planted import Planted, write

SMALL = Planted(lr=(0.02, 0.08), batch_size=(8, 32), seeds=2, parts=1)
_LR, _BATCH = "config_train_lr_schedule_name", "config_train_batch_schedule_name"


def by_batch(small, large):
    return lambda runs: np.where(runs["batch_size"] == 8, small, large)


@pytest.mark.parametrize(
    ("columns", "sizes"),
    [
        ({}, {8, 32}),  # a sweep of an earlier version has no such columns
        ({_LR: "constant", _BATCH: "constant"}, {8, 32}),
        ({_LR: by_batch("constant", "cosine")}, {8}),
        ({_BATCH: by_batch("cyclic", "constant"), _LR: "constant"}, {32}),
    ],
)
def test_plain_runs_keep_their_rate_and_batch_size(tmp_path, columns, sizes):
    sweep = selection.plain(planted(tmp_path, SMALL, runs=columns))
    assert set(sweep.runs["batch_size"]) == set(sweep.snapshots["batch_size"]) == sizes


def test_a_sweep_of_schedules_alone_has_no_plain_runs(tmp_path):
    sweep = planted(tmp_path, SMALL, runs={_LR: "cosine"})
    with pytest.raises(NotTested, match="at a constant learning rate and batch size"):
        selection.plain(sweep)


def two_depths(folder):
    """Runs with momentum end at 0.01, those without at 1."""
    return planted(folder, SMALL.but(momentum=(0.0, 0.9)), snapshots={
        "train_loss": lambda f: np.where(f["run_momentum"] > 0, 0.01, 1.0) * np.exp(
            f["run_epochs"] - f["epoch"])})


def test_each_setting_has_its_own_loss(tmp_path):
    # one level for both would be 1: the runs with momentum pass it 4.6 epochs before their end
    sweep = two_depths(tmp_path)
    levels = selection.losses(sweep)
    deep = sweep.finished.set_index("run_id")["momentum"] > 0
    assert levels[deep].tolist() == pytest.approx([0.01] * 8)
    assert levels[~deep].tolist() == pytest.approx([1.0] * 8)
    frame, lost = selection.at_losses(sweep, "hessian_lambda_max", levels)
    assert lost == 0
    ends = sweep.finished.set_index("run_id")["epochs"]
    assert frame["epoch"].tolist() == pytest.approx(ends[frame["run_id"]].tolist())
    assert selection.named(levels) == "train losses from 0.01 to 1 (one a setting)"


def test_a_loss_that_is_given_is_that_of_all_and_groups_can_be_larger(tmp_path):
    sweep = two_depths(tmp_path)
    assert set(selection.losses(sweep, 0.5)) == {0.5}
    frame, lost = selection.at_losses(sweep, "hessian_lambda_max", selection.losses(sweep, 0.5))
    assert (lost, set(frame["momentum"])) == (8, {0.9})
    together = selection.losses(sweep, groups=selection.alike(sweep, "lr", "batch_size",
                                                              "momentum"))
    assert selection.named(together) == "train loss 1"


@pytest.mark.parametrize(
    ("plan", "drop", "ended"),
    [
        (SMALL, 8, "none has ended"),
        (SMALL.but(diverge_above=0.0), 0, "all 8 diverged"),
    ],
)
def test_a_sweep_without_finished_runs_lacks_just_these(tmp_path, plan, drop, ended):
    # not a monitor, nor an axis: with those alone nothing could be tested either
    sweep = load(write(tmp_path, plan, drop=drop))
    for name in ("three_factors/ratio_law", "stiffness/classes_are_stiff", "wedges/tunnels_widen"):
        assert judge(known()[name], sweep).needs == f"a run that has finished ({ended})"
    quadratic = judge(known()["three_factors/excess_loss_on_a_quadratic"], sweep)
    assert quadratic.needs == "the probe quadratic"  # which needs no runs
