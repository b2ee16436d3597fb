"""Moments per channel against NumPy's, and standardising by them."""

import numpy as np
import pytest

from trainables.moments import CHUNK, channel_moments, standardise

SHAPES = [
    ((CHUNK + 3, 3, 4, 5), (0, 2, 3)),   # images, across a chunk's border
    ((7, 1, 2, 2), (0, 2, 3)),           # one channel
    ((2 * CHUNK, 6), (0,)),              # a table: per feature
    ((5, 2, 9), (0, 2)),                 # sequences
]


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_moments(shape, axes):
    x = (1e4 + np.random.RandomState(0).randn(*shape)).astype(np.float32)  # a mean that cancels
    mean, deviation = channel_moments(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axes, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(deviation, wide.std(axes, keepdims=True), rtol=1e-9)


def test_bytes_do_not_overflow():
    x = np.full((300, 1, 9, 9), 255, dtype=np.uint8)
    assert channel_moments(x)[0].item() == 255


def test_standardised_has_mean_0_and_deviation_1_and_keeps_constants():
    x = np.random.RandomState(1).rand(500, 3).astype(np.float32) * [1, 100, 0] + [0, 5, 7]
    out = standardise(x, *channel_moments(x))
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(0), [1, 1, 0], atol=1e-6)
    assert out.dtype == np.float32


@pytest.mark.parametrize("shape", [(CHUNK + 3, 3, 4, 5), (9, 1, 8, 8), (7, 6)])
def test_bytes_are_standardised_to_the_bits_of_floats(shape):
    """Images of bytes go by a table; a run's bits must not depend on that. One channel constant."""
    x = np.random.RandomState(2).randint(0, 256, shape).astype(np.uint8)
    x[:, 0] = 3
    mean, deviation = channel_moments(x)
    wanted = ((x - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    np.testing.assert_array_equal(standardise(x, mean, deviation), wanted)
    np.testing.assert_array_equal(wanted[:, 0], 0)
