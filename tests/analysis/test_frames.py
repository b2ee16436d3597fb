"""Tables to frames: groups, labels, and every run either used or counted out."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.frames import load, same_ratio
from analysis.schema import sweep_schema
from tests.analysis.planted import Planted, part_path, tables, write, write_frames

SMALL = Planted(lr=(0.1, 0.2), batch_size=(8, 16), seeds=2, epochs=4.0)


def counted(sweep):
    return {e.reason: e.count for e in sweep.exclusions}


def test_how_the_parts_are_cut_does_not_matter(tmp_path):
    # else a report would depend on which pack came in first
    one, many = (load(write(tmp_path / str(n), SMALL.but(parts=n))) for n in (1, 5))
    pd.testing.assert_frame_equal(one.runs, many.runs)
    pd.testing.assert_frame_equal(one.snapshots, many.snapshots)
    pd.testing.assert_frame_equal(one.finished, one.runs)


def test_runs_that_have_not_ended_are_counted_not_used(tmp_path):
    sweep = load(write(tmp_path, SMALL, drop=3))
    assert counted(sweep) == {"still running": 3}
    assert len(sweep.runs) == 5
    assert set(sweep.snapshots["run_id"]) == set(sweep.runs["run_id"])


def test_runs_of_an_older_grid_are_counted_apart(tmp_path):
    # one of those left out has not even ended: it must not be counted twice
    runs, _ = tables(SMALL)
    sweep = load(write(tmp_path, SMALL, drop=1), only=runs["run_id"][2:])
    assert counted(sweep) == {"not in the current grid": 2}
    assert set(sweep.runs["run_id"]) == set(runs["run_id"][2:])


def test_every_status_has_its_reason(tmp_path):
    runs, snapshots = tables(SMALL)
    runs.loc[:5, "status"] = ["diverged", "failed", "failed", "stopped", "stopped", "stopped"]
    sweep = load(write_frames(tmp_path, SMALL, runs, snapshots))
    assert counted(sweep) == {"diverged": 1, "failed": 2, "stopped short of their target": 3}
    assert len(sweep.finished) == 2
    ids = {i for e in sweep.exclusions for i in e.run_ids} | set(sweep.finished["run_id"])
    assert ids == set(runs["run_id"])


def test_an_empty_sweep_loads(tmp_path):
    runs, snapshots = tables(SMALL)
    empty = SMALL.but(parts=1)
    sweep = load(write_frames(tmp_path, empty, runs.iloc[:0], snapshots.iloc[:0]))
    assert (sweep.name, len(sweep.runs), sweep.exclusions) == (tmp_path.name, 0, ())
    assert not sweep.measures("hessian_lambda_max")


@pytest.mark.parametrize(
    ("planted", "cells", "settings", "strata", "words"),
    [
        (SMALL, 4, 1, 1, {""}),  # seeds make no cell of their own
        # noises and momentum are settings, but the laws have a term for them: one stratum
        (SMALL.but(label_noise=(0.0, 0.2)), 8, 2, 1, {"label noise 0", "label noise 0.2"}),
        (SMALL.but(momentum=(0.0, 0.9)), 8, 2, 1, {"momentum 0", "momentum 0.9"}),
    ],
)
def test_groups(tmp_path, planted, cells, settings, strata, words):
    runs = load(write(tmp_path, planted)).runs
    assert [runs[c].nunique() for c in ("cell", "setting", "stratum")] == [cells, settings, strata]
    assert set(runs["setting_label"]) == words


@pytest.mark.parametrize(
    ("config", "kind", "values", "strata"),
    [
        ("config_model_name", "str", ["mlp", "cnn"] * 4, 2),
        ("config_model_name", "str", [None, "cnn"] * 4, 2),  # null is a value, not a lost run
        ("config_seed", "int", [0, 1] * 4, 1),  # a copy of the seed splits nothing
        ("config_lr", "float", [0.1] * 4 + [0.2] * 4, 1),  # nor one of an axis
        ("config_width", "int", [16] * 8, 1),
    ],
)
def test_a_config_column_that_says_something_new_makes_strata(
    tmp_path, config, kind, values, strata
):
    planted = SMALL.but(config={config: kind})
    runs, snapshots = tables(planted)
    runs[config] = values
    found = load(write_frames(tmp_path, planted, runs, snapshots)).runs
    assert found["stratum"].nunique() == strata
    assert len(set(found["stratum_label"])) == strata
    assert len(found) == 8


@pytest.mark.parametrize(
    ("ratio", "groups"),
    [
        ([0.1 / 8, 0.2 / 16, 0.3 / 24], 1),  # equal but for rounding
        ([0.01, 0.01 * (1 + 5e-7)], 1),
        ([0.01, 0.01 * (1 + 2e-6)], 2),
        ([0.02, 0.01, 0.02, 0.01], 2),  # in any order
        ([], 0),
    ],
)
def test_same_ratio(ratio, groups):
    group = same_ratio(np.array(ratio, float))
    assert len(np.unique(group)) == groups
    np.testing.assert_allclose(group, ratio, rtol=1.5e-6)


def test_the_step_s_own_rate_stands_beside_the_run_s(tmp_path):
    # a schedule changes lr within the run; the axis does not change
    runs, snapshots = tables(SMALL)
    snapshots["lr"] /= 2
    sweep = load(write_frames(tmp_path, SMALL, runs, snapshots))
    np.testing.assert_allclose(sweep.snapshots["run_lr"], 2 * sweep.snapshots["lr"])
    assert set(sweep.snapshots["run_lr"]) == {0.1, 0.2}


def test_measures_and_varies(tmp_path):
    runs, snapshots = tables(SMALL)
    snapshots["hessian_trace"] = np.nan
    sweep = load(write_frames(tmp_path, SMALL, runs, snapshots))
    assert sweep.measures("hessian_lambda_max")
    assert not sweep.measures("hessian_trace")
    assert not sweep.measures("of another monitor")
    assert sweep.varies("lr")
    assert not sweep.varies("momentum")


def test_spectra_are_read_in_order_and_without_foreign_runs(tmp_path):
    folder = write(tmp_path, SMALL)
    run = load(folder).runs["run_id"][0]
    rows = [(run, 1, "hessian", 2, 1.0, None), (run, 1, "hessian", 1, 3.0, 0.1),
            ("other", 1, "hessian", 1, 9, None)]
    schema = sweep_schema()["spectra"]
    frame = pd.DataFrame(rows, columns=schema.names)
    pq.write_table(
        pq.read_table(part_path(folder, "spectra", "0000-schema")).from_pandas(frame, schema),
        part_path(folder, "spectra", "pack0-0"),
    )
    assert load(folder).spectra["value"].tolist() == [3.0, 1.0]
    assert load(folder).curves.empty
