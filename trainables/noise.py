"""Noisy labels and noisy inputs of Arpit et al. 2017. Victims are a function of data.seed, nested.

With a fraction p the victims are the examples of rank below round(p·N), so that a larger fraction
contains the smaller one and an example's replacement is the same at every fraction.
"""

import numpy as np

from trainables.moments import CHUNK, channel_moments
from trainables.sources.selection import draws


def label_noise(y: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ranks and (N,) replacement labels, uniform over all classes (the true one too)."""
    generator = draws(seed, "label_noise")
    return generator.permutation(len(y)), generator.randint(0, classes, len(y), dtype=np.int64)


def input_noise(x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ranks and (N, …) replacements: Gaussian, i.i.d., of x's mean and variance.

    Mean and variance are per channel of images (N, C, …), per feature of tables (N, D).
    """
    generator = draws(seed, "input_noise")
    rank = generator.permutation(len(x))
    mean, deviation = channel_moments(x)
    drawn = np.empty(x.shape, dtype=x.dtype)
    for i in range(0, len(x), CHUNK):
        part = drawn[i : i + CHUNK]
        part[...] = mean + deviation * generator.standard_normal(part.shape)
    return rank, drawn
