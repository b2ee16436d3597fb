"""Each weak spot of a design is named, and a design without it is not accused of it."""

import numpy as np
import pytest

from analysis.cautions import cautions
from analysis.frames import load
from analysis.laws import fit
from analysis.points import END, points
from tests.analysis.planted import Planted, tables, write_frames

GOOD = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16, 32), seeds=5, epochs=4.0, cell_sd=0.005)


def said(folder, planted, change=None):
    runs, snapshots = tables(planted)
    if change is not None:
        runs = change(runs)
    kept = snapshots[snapshots["run_id"].isin(runs["run_id"])]
    sweep = load(write_frames(folder, planted, runs, kept))
    return " | ".join(cautions(sweep, [fit(points(sweep, "hessian_lambda_max", END))]))


def test_a_good_design_draws_no_caution(tmp_path):
    assert said(tmp_path, GOOD) == ""


def _two_torches(runs):
    return runs.assign(torch_version=np.where(runs["seed"] < 2, "2.1", "2.2"))


def _own_seeds(runs):
    return runs.assign(seed=np.arange(len(runs)))


def _two_models(runs):
    return runs.assign(config_model_name=np.where(runs["seed"] < 2, "mlp", "cnn"))


def _diagonal(runs):
    return runs[np.abs(np.log(runs["ratio"] / 0.0025)) < 0.1]


@pytest.mark.parametrize(
    ("planted", "change", "words"),
    [
        (GOOD.but(diverge_above=0.004), None, "15 of 45 runs diverged, from η/S = 0.005 on"),
        (GOOD, _two_torches, "2 versions of torch: 2.1 and 2.2"),  # results may differ by it
        (GOOD, _two_models, "settings differ (model name cnn and model name mlp)"),
        (GOOD.but(lr=(0.02, 0.04), seeds=2), None, "6 cells only"),
        (GOOD, _diagonal, "one ratio η/S only"),
        (GOOD, _diagonal, "η and S vary almost together (r = 1 of their logarithms)"),
        (GOOD.but(lr=(0.02,)), None, "one learning rate only"),
        (GOOD.but(batch_size=(8,)), None, "one batch size only"),
        (GOOD.but(momentum=(0.0, 0.9), seeds=1), None, "η stands for η/(1 − μ)"),
        (GOOD.but(seeds=1), None, "one seed: chance cannot be told from the cell"),
        (GOOD.but(seeds=4), None, "4 seeds: the intervals take them as given"),
        (GOOD, _own_seeds, "the cells do not all have the same seeds"),
        # planted on η alone, and too noisy to fail the ratio law outright
        (
            GOOD.but(a=-0.22, b=0.12, cell_sd=0.001, run_sd=0.001),
            None,
            "λ_max at the end is fitted better by (η/√S)^a",
        ),
    ],
)
def test_a_weak_spot_is_named(tmp_path, planted, change, words):
    assert words in said(tmp_path, planted, change)


def test_an_empty_sweep_has_nothing_to_warn_of(tmp_path):
    assert said(tmp_path, GOOD.but(parts=1), lambda runs: runs.iloc[:0]) == ""
