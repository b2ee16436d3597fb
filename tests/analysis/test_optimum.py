"""The best η at one batch size, on planted curves."""

import numpy as np
import pytest

from analysis.optimum import Kind, optimum

LR = np.geomspace(0.01, 10.24, 11)


def curve(best, skew=1.0, noise=0.05, seeds=5, rng=0, lr=LR):
    off = np.log(lr / best)
    mean = 4 - 0.3 * off**2 * np.where(off > 0, skew, 1)
    drawn = np.random.default_rng(rng)
    return mean[:, None] + drawn.normal(0, noise, seeds) + drawn.normal(0, noise, (len(lr), seeds))


def test_a_smooth_curve_has_its_vertex_between_the_cells():
    """Five cells about 0.45, none of them at it."""
    fine = np.geomspace(0.05, 4.0, 13)
    found = optimum(32, fine, curve(0.45, lr=fine))
    assert found.kind is Kind.FITTED
    assert found.lr.value == pytest.approx(0.45, rel=0.1)
    assert found.lr.low < 0.45 < found.lr.high < 2 * found.lr.low


def test_more_seeds_narrow_it_and_noise_widens_it():
    fine = np.geomspace(0.05, 4.0, 13)
    width = {(seeds, noise): np.log(f.lr.high / f.lr.low) for seeds in (5, 20)
             for noise in (0.02, 0.2)
             for f in [optimum(32, fine, curve(0.45, seeds=seeds, noise=noise, lr=fine))]}
    assert width[20, 0.02] < width[5, 0.02] < width[5, 0.2]
    assert width[20, 0.2] < width[5, 0.2]


def test_a_cliff_leaves_the_neighbours_of_the_best_cell():
    """No vertex can be fitted where the curve ends: 95 % of the way between the neighbours."""
    table = curve(20.0)
    table[8:] = np.nan
    found = optimum(32, LR, table)
    assert found.kind is Kind.BRACKETED
    assert found.lr.value == found.best == LR[7]
    assert LR[6] < found.lr.low < 1.1 * LR[6]
    assert 0.9 * LR[8] < found.lr.high < LR[8]


@pytest.mark.parametrize("best", [1e-4, 1e4])
def test_a_best_cell_at_the_end_of_the_grid_is_a_bound(best):
    found = optimum(32, LR, curve(best))
    assert found.kind is Kind.EDGE
    assert found.lr.value == pytest.approx(LR[0] if best < 1 else LR[-1])
    assert (found.lr.low == 0) == (best < 1)
    assert (found.lr.high == np.inf) == (best > 1)


def test_a_single_rate_is_open_on_both_sides():
    found = optimum(32, LR[:1], curve(0.3, lr=LR[:1]))
    assert (found.kind, found.cells) == (Kind.EDGE, 1)
    assert (found.lr.low, found.lr.high) == (0, np.inf)


def test_one_seed_gives_no_more_than_the_neighbours():
    found = optimum(32, LR, curve(0.32, seeds=1))
    assert found.seeds == 1
    assert found.lr.high / found.lr.low > 0.8 * LR[2] / LR[0]


def test_missing_runs_are_allowed_for():
    table = curve(0.45)
    table[3, 1] = table[6, :2] = np.nan
    found = optimum(32, LR, table)
    assert found.lr.low < 0.45 < found.lr.high


def test_the_same_table_gives_the_same_interval():
    one, two = (optimum(32, LR, curve(0.45)) for _ in range(2))
    assert one.lr == two.lr
    assert (one.draws == two.draws).all()
