"""Break points against closed forms and breaks that were planted."""

import math

import numpy as np
import pytest

from analysis.collapse import breaks, mean_squares
from analysis.frames import load
from tests.analysis.planted import Planted, tables, write, write_frames

# one ratio, four batch sizes, seeds that differ clearly and cells that do not
FAMILY = Planted(
    lr=(0.01, 0.02, 0.04, 0.08),
    batch_size=(8, 16, 32, 64),
    seeds=5,
    epochs=8.0,
    seed_sd=0.1,
    cell_sd=0.0,
    run_sd=0.01,
)
RATIO = 0.00125


def on_the_diagonal(folder, planted, change=lambda runs: runs):
    """The planted sweep's runs at one ratio, as a sweep."""
    runs, snapshots = tables(planted)
    runs = change(runs[np.isclose(runs["ratio"], RATIO)].reset_index(drop=True))
    kept = snapshots[snapshots["run_id"].isin(runs["run_id"])]
    return load(write_frames(folder, planted, runs, kept))


@pytest.mark.parametrize(
    ("break_batch", "last", "first"),
    [(8, 1, 16), (16, 2, 32), (32, 4, 64), (np.inf, 8, None)],
)
def test_a_planted_break_is_recovered(tmp_path, break_batch, last, first):
    sweep = on_the_diagonal(tmp_path, FAMILY.but(break_batch=break_batch))
    for quantity in ("train_loss", "hessian_lambda_max"):
        (found,) = breaks(sweep, quantity)
        assert (found.reference, found.seeds, found.few_seeds) == (8, 5, False)
        assert (found.last.value, found.last.low, found.last.high) == (last, last, last)
        assert (found.first_broken.batch_size if found.first_broken else None) == first
        assert found.established is (first is not None)
        assert [step.factor for step in found.steps] == [2, 4, 8]


def test_distance_and_yardstick_in_closed_form(tmp_path):
    # log curves are shifted by 2·seed offset, and by 2·1.5 above the break, from the first step on
    sweep = on_the_diagonal(tmp_path, FAMILY.but(break_batch=32, run_sd=0.0))
    (found,) = breaks(sweep, "train_loss")
    starts = np.random.default_rng(FAMILY.rng).normal(0, FAMILY.seed_sd, FAMILY.seeds)
    gaps = [2 * (a - b) for i, a in enumerate(starts) for b in starts[:i]]
    assert found.steps[-1].distance == pytest.approx(3.0, rel=1e-2)
    assert found.steps[0].seed_noise == pytest.approx(np.sqrt(np.mean(np.square(gaps))), rel=1e-2)


def test_a_looser_tolerance_moves_the_break_out(tmp_path):
    sweep = on_the_diagonal(tmp_path, FAMILY.but(break_batch=16))
    assert breaks(sweep, "train_loss")[0].last.value == 2
    assert breaks(sweep, "train_loss", tolerance=1000.0)[0].last.value == 8


def test_one_seed_gives_no_yardstick(tmp_path):
    (found,) = breaks(on_the_diagonal(tmp_path, FAMILY.but(seeds=1)), "train_loss")
    assert {step.coincides for step in found.steps} == {None}
    assert math.isnan(found.last.value)
    assert not found.established
    assert found.few_seeds


@pytest.mark.parametrize(
    ("lost", "coincides", "established"),
    [
        (2, True, False),  # a minority diverged: judged by the others
        (3, False, True),  # most of them: parted, whatever the others do
        (5, False, True),
    ],
)
def test_diverged_runs_count(tmp_path, lost, coincides, established):
    def diverge(runs):
        there = (runs["batch_size"] == 64) & (runs["seed"] < lost)
        return runs.assign(status=runs["status"].mask(there, "diverged"))

    (found,) = breaks(on_the_diagonal(tmp_path, FAMILY, diverge), "train_loss")
    assert found.steps[-1].diverged == lost
    assert found.steps[-1].coincides is coincides
    assert found.established is established


def test_a_missing_run_does_not_widen_the_interval(tmp_path):
    # draws that hold only seeds without the cell say nothing about it
    planted = FAMILY.but(seeds=3)

    def lose(runs):
        return runs[~((runs["batch_size"] == 32) & (runs["seed"] > 0))].reset_index(drop=True)

    (found,) = breaks(on_the_diagonal(tmp_path, planted, lose), "train_loss")
    assert (found.last.low, found.last.high) == (8, 8)


def test_the_reference_is_the_smallest_batch_that_finished(tmp_path):
    def fail(runs):
        return runs.assign(status=runs["status"].mask(runs["batch_size"] == 8, "failed"))

    (found,) = breaks(on_the_diagonal(tmp_path, FAMILY, fail), "train_loss")
    assert found.reference == 16
    assert found.last.value == 4


@pytest.mark.parametrize(
    "planted",
    [
        FAMILY.but(lr=(0.01,)),  # no two cells of equal ratio
        FAMILY.but(lr=(0.01, 0.02), batch_size=(8, 16), diverge_above=0.0),  # nothing finished
    ],
)
def test_no_family_no_break(tmp_path, planted):
    assert breaks(load(write(tmp_path, planted)), "train_loss") == ()


def test_a_quantity_that_was_not_measured_has_no_break(tmp_path):
    assert breaks(on_the_diagonal(tmp_path, FAMILY), "of another monitor") == ()


def test_settings_are_families_of_their_own(tmp_path):
    planted = FAMILY.but(lr=(0.01, 0.02), batch_size=(8, 16), label_noise=(0.0, 0.2), seeds=2)
    found = breaks(load(write(tmp_path, planted)), "train_loss")
    assert [(b.setting_label, round(b.ratio, 6)) for b in found] == [
        ("label noise 0", 0.00125),
        ("label noise 0.2", 0.00125),
    ]


@pytest.mark.parametrize(
    ("seeds", "missing"),
    [
        (2, []),  # draws of one seed twice have no pair
        (6, []),
        (6, [(0, 1), (2, 1), (2, 4)]),  # runs that diverged
        (6, [(1, s) for s in range(6)]),  # a cell without any
        (6, [(1, s) for s in range(5)]),  # a cell with one
    ],
)
def test_mean_squares_are_those_over_all_pairs_of_seeds(seeds, missing):
    rng = np.random.default_rng(0)
    curves = rng.normal(100.0, 1e-2, (4, seeds, 64))  # far from zero: nothing may cancel
    for place in missing:
        curves[place] = np.nan
    draws = np.vstack([np.ones(seeds), rng.multinomial(seeds, np.ones(seeds) / seeds, 50)])
    distance, yard = mean_squares(curves, draws.astype(float))
    for w, got_distance, got_yard in zip(draws, distance, yard, strict=True):
        between = [_mean(w, ((curves[c] - curves[0]) ** 2).mean(-1)) for c in (1, 2, 3)]
        np.testing.assert_allclose(got_distance, between, rtol=1e-12)
        squares = ((curves[:, :, None] - curves[:, None]) ** 2).mean(-1)
        pairs = np.outer(w, w) * ~np.eye(seeds, dtype=bool)
        noises = [_mean(pairs, cell) for cell in squares]
        known = [n for n in noises if np.isfinite(n)]
        np.testing.assert_allclose(got_yard, np.median(known) if known else np.nan, rtol=1e-9)


def _mean(weights, values):
    """The weighted mean of what is known; NaN without any weight."""
    known = np.isfinite(values)
    total = weights[known].sum()
    return (weights[known] * values[known]).sum() / total if total else np.nan
