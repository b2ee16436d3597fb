"""Noise of labels and inputs: uniform, Gaussian of the data's moments, nested, by the seed."""

import numpy as np
import pytest
from scipy import stats

from trainables.noise import input_noise, label_noise


def victims(rank, fraction):
    return set(np.flatnonzero(rank < round(fraction * len(rank))))


@pytest.mark.parametrize("draw", [
    lambda seed: label_noise(np.arange(1000) % 7, 7, seed),
    lambda seed: input_noise(np.ones((1000, 2), np.float32), seed),
])
def test_victims_are_nested_counted_and_of_the_seed(draw):
    rank, drawn = draw(3)
    assert sorted(rank) == list(range(1000))
    assert rank.dtype == np.int64
    sets = [victims(rank, p) for p in (0, 0.25, 0.5, 1)]
    assert [len(s) for s in sets] == [0, 250, 500, 1000]
    assert sets[0] <= sets[1] <= sets[2] <= sets[3]
    again, other = draw(3), draw(4)
    assert np.array_equal(rank, again[0])
    assert np.array_equal(drawn, again[1])
    assert not np.array_equal(rank, other[0])


def test_labels_are_uniform_over_all_classes_whatever_the_true_one():
    y = np.repeat(np.arange(5), 4000)
    _, drawn = label_noise(y, 5, seed=0)
    table = np.histogram2d(y, drawn, bins=5)[0]
    assert drawn.dtype == np.int64
    assert set(drawn) == set(range(5))
    assert stats.chi2_contingency(table).pvalue > 1e-3   # independent of the true label
    assert stats.chisquare(table.sum(0)).pvalue > 1e-3   # uniform: about 1/5 stay right by chance


def test_inputs_are_gaussian_of_each_channels_moments():
    scale, shift = np.array([1, 3, 0.1]), np.array([0, -2, 5])
    x = np.random.RandomState(0).rand(2000, 6, 6, 3) * scale + shift    # far from Gaussian
    x = x.transpose(0, 3, 1, 2).astype(np.float32)
    _, drawn = input_noise(x, seed=0)
    assert drawn.shape == x.shape
    assert drawn.dtype == x.dtype
    for c in range(3):
        z = (drawn[:, c] - x[:, c].mean()) / x[:, c].std()
        assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    flat = drawn.reshape(2000, -1)
    r = np.corrcoef(flat[:, :20].T) - np.eye(20)                       # i.i.d. over pixels
    assert abs(r).max() < 5 / np.sqrt(2000)


def test_labels_and_inputs_have_victims_of_their_own():
    a = label_noise(np.arange(4000) % 2, 2, 0)[0]
    b = input_noise(np.ones((4000, 1), np.float32), 0)[0]
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(4000)


def test_the_draws_are_frozen():
    # Rows of earlier sweeps were made with these: a change here changes results.
    rank, drawn = label_noise(np.zeros(6, np.int64), 10, seed=0)
    assert rank.tolist() == [4, 2, 0, 1, 3, 5]
    assert drawn.tolist() == [7, 3, 2, 4, 4, 8]
    rank, drawn = input_noise(np.array([[0.0], [2.0]]), seed=0)
    assert rank.tolist() == [1, 0]
    np.testing.assert_allclose(drawn.ravel(), [0.37314321, 1.37827809], rtol=1e-7)
