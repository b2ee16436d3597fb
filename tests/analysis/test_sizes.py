"""How N enters: planted η/S and ηN/S, and breaks that come later with N."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.collapse import breaks
from analysis.crossed import Interval
from analysis.frames import load
from analysis.laws import fit
from analysis.sizes import SIZE_FORMS, fit_sizes, growth, growth_frame, size_rows
from tests.analysis.planted import Planted, planted_points, tables, write_frames

LR, BATCH, SIZES = 0.02 * 2.0 ** np.arange(4), 8 * 2 ** np.arange(3), (500, 1000, 2000)


def fitted(c, rng=0, **how):
    how = {"cell_sd": 0.03, "train_size": SIZES, **how}
    return fit_sizes(planted_points(np.random.default_rng(rng), LR, BATCH, 4, c=c, **how))


@pytest.mark.parametrize(
    ("c", "verdict", "best"),
    [(0.0, "η/S", "ratio"), (-0.7, "ηN/S", "noise_scale"), (-0.35, "neither", None)],
)
def test_the_planted_part_of_n_is_found(c, verdict, best):
    found = fitted(c)
    assert found.verdict == verdict
    assert found.size.holds(c)
    assert found.scale.holds(c + 0.7)
    if best:
        assert found.comparison.best == best
        assert found.comparison.rivals[-1].told_apart


def test_scatter_leaves_it_undecided():
    assert fitted(-0.35, cell_sd=0.5).verdict == "undecided"


def test_a_single_n_is_no_question():
    assert fitted(0.0, train_size=(1500,)) is None


def test_laws_without_n_do_not_see_it():
    # each N has an intercept of its own there
    chosen = planted_points(np.random.default_rng(0), LR, BATCH, 4, c=-0.7, train_size=SIZES)
    assert fit(chosen).laws["free"].exponents["a"].holds(-0.7)


def test_rows_are_one_a_law():
    table = size_rows([fitted(0.0)])
    assert [row["law"] for row in table] == list(SIZE_FORMS)
    assert table[0]["c_low"] < 0 < table[0]["c_high"]


DIAGONAL = Planted(lr=(0.01, 0.02, 0.04, 0.08, 0.16), batch_size=(8, 16, 32, 64, 128), seeds=5,
                   epochs=4.0, seed_sd=0.1, cell_sd=0.0, run_sd=0.02, break_by=0.5)


def located(folder, edges, ends=None):
    """Breaks of one sweep in which the runs of N part above S = ``edges[N]``; its grid ends at
    ``ends[N]``, if it is there."""
    parts = [tables(DIAGONAL.but(train_size=n, break_batch=edge, name=f"n{n}"))
             for n, edge in edges.items()]
    runs, snapshots = (
        pd.concat([p[i] for p in parts], ignore_index=True) for i in (0, 1)
    )
    inside = runs["batch_size"] <= runs["train_size"].map(ends or {}).fillna(np.inf)
    runs = runs[np.isclose(runs["ratio"], 0.00125) & inside].reset_index(drop=True)
    runs = runs.assign(data_sha256=runs["train_size"].astype(str))  # other data for each N
    kept = snapshots[snapshots["run_id"].isin(runs["run_id"])]
    return breaks(load(write_frames(folder, DIAGONAL, runs, kept)), "train_loss")


@pytest.mark.parametrize(
    ("edges", "verdict", "slope"),
    [
        ({500: 8, 1000: 16, 2000: 32}, "later", 1.0),  # a doubling of S a doubling of N
        ({500: 32, 1000: 16, 2000: 8}, "earlier", -1.0),
        ({500: 16, 2000: 16}, "undecided", 0.0),
        ({500: np.inf, 2000: np.inf}, "no break", np.nan),
        ({500: 16, 2000: np.inf}, "later", 1.5),  # the grid ends: at least that
        ({500: np.inf, 2000: 16}, "earlier", -1.5),
    ],
)
def test_the_break_against_n(tmp_path, edges, verdict, slope):
    found = located(tmp_path, edges)
    assert [b.train_size for b in found] == sorted(edges)
    (grown,) = growth(found)
    assert grown.verdict == verdict
    assert grown.slope.value == pytest.approx(slope, nan_ok=True)
    assert grown.ratios == 1
    assert grown.censored == (np.inf in edges.values())
    assert grown.largest == 16
    table = growth_frame([grown])
    assert table["last_factor"].tolist() == [b.last.value for b in grown.breaks]
    assert set(table["verdict"]) == {verdict}


@pytest.mark.parametrize(
    ("edges", "ends", "verdict", "lasts"),
    [
        # the grid of N = 500 ends at S = 16, where nothing has parted: nor at N = 2000 up to there
        ({500: np.inf, 2000: 64}, {500: 16}, "no break", [2.0, 2.0]),
        ({500: 16, 2000: 16}, {500: 32}, "undecided", [2.0, 2.0]),
        ({500: 8, 2000: 64}, {500: 16}, "later", [1.0, 2.0]),  # true growth is still seen
        ({500: 8, 2000: 16}, {2000: 32}, "later", [1.0, 2.0]),
    ],
)
def test_a_grid_that_ends_earlier_is_no_break(tmp_path, edges, ends, verdict, lasts):
    (grown,) = growth(located(tmp_path, edges, ends))
    assert grown.verdict == verdict
    assert [b.last.value for b in grown.breaks] == lasts


def test_a_few_seeds_that_agree_decide_nothing(tmp_path):
    found = located(tmp_path, {500: 8, 1000: 16, 2000: 32})
    few = [replace(b, seeds=4) for b in found]
    unbroken = [replace(b, ratio=1.0, seeds=4, last=Interval(16.0, 16.0, 16.0),
                        draws=np.full(len(b.draws), 16.0)) for b in found]
    for some, verdict in ((found, "later"), (few, "undecided"), ([*found, *unbroken], "later")):
        (grown,) = growth(some)
        assert (grown.verdict, grown.few_seeds) == (verdict, verdict == "undecided")
        assert grown.slope == growth(found)[0].slope


def test_a_ratio_at_which_nothing_breaks_tells_nothing_of_n(tmp_path):
    found = located(tmp_path, {500: 8, 2000: 32})
    unbroken = [replace(b, ratio=1.0, last=Interval(16.0, 16.0, 16.0),
                        draws=np.full(len(b.draws), 16.0)) for b in found]
    assert growth([*found, *unbroken])[0].slope == growth(found)[0].slope


def test_no_factor_in_common_is_no_question(tmp_path):
    small, large = located(tmp_path, {500: 8, 2000: 32})
    assert growth([replace(small, steps=small.steps[:1]),
                   replace(large, steps=large.steps[1:])]) == ()


def test_one_n_does_not_grow(tmp_path):
    assert growth(located(tmp_path, {500: 16})) == ()
