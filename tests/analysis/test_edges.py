"""The edge of stability on full-batch runs whose sharpness sits at a known place."""

import numpy as np
import pandas as pd
import pytest

from analysis.edges import edges, products
from analysis.frames import load
from tests.analysis.planted import Planted, tables, write, write_frames

FULL = Planted(lr=(0.5, 0.1), batch_size=(1500,), seeds=2, epochs=8.0)


def sweep(folder, planted, sharp, **columns):
    """``sharp``: from a frame of snapshots to their λ_max."""
    runs, snapshots = tables(planted)
    momentum = snapshots["run_id"].map(runs.set_index("run_id")["momentum"])
    snapshots["hessian_lambda_max"] = sharp(snapshots.assign(momentum=momentum))
    return load(write_frames(folder, planted, runs.assign(**columns), snapshots))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_at_the_edge_the_product_is_the_bound(tmp_path, momentum):
    # 2 for gradient descent, 2(1 + μ) with heavy-ball momentum
    planted = FULL.but(momentum=(momentum,))
    found = edges(sweep(tmp_path, planted, lambda s: 2 * (1 + s["momentum"]) / s["lr"]))
    assert [edge.lr for edge in found] == [0.1, 0.5]  # in order of η, not as planned
    for edge in found:
        assert edge.bound == pytest.approx(2 * (1 + momentum))
        assert (edge.mean, edge.low, edge.high) == (pytest.approx(edge.bound),) * 3
        assert edge.runs == 2


@pytest.mark.parametrize(("column", "kind", "values"), [
    ("config_train_optimizer_name", "str", ["adam", "adam", "sgd", "sgd"]),
    ("config_train_batch_schedule_name", "str", ["cyclic", "cyclic", "constant", "constant"]),
    ("config_train_lr_schedule_name", "str", ["switch", "switch", "constant", "constant"]),
    ("config_train_fisher_penalty", "float", [0.1, 0.1, 0.0, 0.0]),
])
def test_only_gradient_descent_at_one_rate_has_this_edge(tmp_path, column, kind, values):
    # η = 0.5 comes first in the plan
    found = edges(sweep(tmp_path, FULL.but(config={column: kind}), lambda s: 2 / s["lr"],
                        **{column: np.array(values)}))
    assert [edge.lr for edge in found] == [0.1]


@pytest.mark.parametrize(("column", "kind"), [
    ("config_train_optimizer_name", "str"), ("config_train_fisher_penalty", "float")])
def test_what_a_row_leaves_empty_is_plain(tmp_path, column, kind):
    found = edges(sweep(tmp_path, FULL.but(config={column: kind}), lambda s: 2 / s["lr"],
                        **{column: None if kind == "str" else np.nan}))
    assert [edge.lr for edge in found] == [0.1, 0.5]


def test_nesterov_s_bound_is_lower(tmp_path):
    planted = FULL.but(momentum=(0.5,), config={"config_optimizer_nesterov": "bool"})
    flags = np.array([True, True, False, False])
    found = edges(
        sweep(tmp_path, planted, lambda s: 1 / s["lr"], config_optimizer_nesterov=flags)
    )
    # η = 0.5 comes first in the plan: 2(1 + μ)/(1 + 2μ) = 1.5 there, 2(1 + μ) = 3 at η = 0.1
    assert [(edge.lr, edge.bound) for edge in found] == [(0.1, 3.0), (0.5, 1.5)]


def test_only_the_last_quarter_counts(tmp_path):
    # λ_max falls as 1/step: 1/η·(1, 1/2, …); the last quarter of 8 snapshots is steps 7 and 8
    def falling(snapshots):
        return 1 / snapshots["lr"] / snapshots["step"].clip(lower=1)

    one = FULL.but(lr=(0.5,), seeds=1)
    loaded = sweep(tmp_path, one, falling)
    steps = loaded.snapshots["step"][loaded.snapshots["step"] > 0].tolist()
    late = [1 / step for step in steps[int(len(steps) * 0.75) :]]
    (found,) = edges(loaded)
    assert found.mean == pytest.approx(np.mean(late))
    assert (found.low, found.high) == (pytest.approx(late[-1]), pytest.approx(late[0]))
    assert len(late) < len(steps) / 2


def test_the_rate_of_the_step_counts_not_the_run_s(tmp_path):
    runs, snapshots = tables(FULL)
    snapshots["lr"] /= 4  # a schedule
    loaded = load(write_frames(tmp_path, FULL, runs, snapshots))
    rows = products(loaded)
    expected = rows["run_lr"] / 4 * rows["hessian_lambda_max"]
    pd.testing.assert_series_equal(rows["product"], expected, check_names=False)
    assert len(rows)


@pytest.mark.parametrize(
    ("planted", "sharp"),
    [
        (FULL.but(batch_size=(750,)), lambda s: s["lr"]),  # not full batch
        (FULL.but(diverge_above=0.0), lambda s: s["lr"]),  # none finished
        (FULL, lambda s: s["lr"] * np.nan),  # λ_max not measured
    ],
)
def test_no_full_batch_run_no_edge(tmp_path, planted, sharp):
    loaded = sweep(tmp_path, planted, sharp)
    assert edges(loaded) == ()
    assert {"product", "bound"} <= set(products(loaded))


def test_a_mixed_sweep_shows_its_full_batch_cells_only(tmp_path):
    loaded = load(write(tmp_path, FULL.but(batch_size=(100, 1500))))
    assert len(edges(loaded)) == 2
    assert set(products(loaded)["batch_size"]) == {1500}
