"""The hull of a grid against scipy's, and grids that have none."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from analysis.hull import inside
from analysis.laws import fit
from tests.analysis.planted import planted_points


def test_it_is_scipy_s():
    rng = np.random.default_rng(0)
    grid, places = rng.normal(0, 1, (30, 2)), rng.normal(0, 1.2, (300, 2))
    truth = Delaunay(grid).find_simplex(places) >= 0
    assert (inside(grid, places) == truth).all()
    assert truth.any()
    assert not truth.all()


@pytest.mark.parametrize(
    ("grid", "place", "within"),
    [
        ([[0, 0], [2, 0], [0, 2], [2, 2]], [2, 2], True),  # a corner
        ([[0, 0], [2, 0], [0, 2], [2, 2]], [1, 0], True),  # a border
        ([[0, 0], [2, 0], [0, 2], [2, 2]], [2.1, 1], False),
        ([[0, 0], [1, 1], [2, 2]], [1.5, 1.5], True),  # one ratio: along its line only
        ([[0, 0], [1, 1], [2, 2]], [1.5, 1.0], False),
        ([[0, 0], [1, 1], [2, 2]], [3, 3], False),
        ([[1, 1]], [1, 1], True),
        ([[1, 1]], [1, 2], False),
        (np.zeros((0, 2)), [0, 0], False),
    ],
)
def test_borders_and_grids_without_a_hull(grid, place, within):
    assert inside(np.array(grid, float), np.array([place], float)).tolist() == [within]


def test_a_law_knows_where_it_extrapolates():
    lr, batch = np.array([0.02, 0.04, 0.08]), np.array([8, 16, 32])
    found = fit(planted_points(np.random.default_rng(0), lr, batch, 3))
    wanted = found.crossing.cells.iloc[:3].assign(lr=[0.03, 0.03, 0.16], batch_size=[20, 64, 16])
    assert found.inside(wanted).tolist() == [True, False, False]
