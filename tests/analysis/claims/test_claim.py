"""What would decide an effect that is undecided."""

import math

import pytest

from analysis.claims.claim import Effect
from analysis.crossed import Interval


@pytest.mark.parametrize(("value", "low", "high", "bound", "side", "units", "words"), [
    (0.5, 0.4, 0.6, 0.0, "above", 5, ""),  # decided
    (0.5, -0.5, 1.5, 0.0, "above", 5, "about 20 seeds"),  # 5·(1/0.5)²
    (0.5, -0.01, 1.01, 0.0, "above", 5, "about 6 seeds"),  # one more at least
    (0.1, -0.9, 1.1, 0.0, "above", 5, "hardly anything: shift lies near the bound"),  # 500
    (0.2, -0.35, 0.75, 0.0, "above", 5, "about 38 seeds"),
    (0.157, -0.843, 1.157, 0.0, "above", 5, "hardly anything: shift lies near the bound"),  # 203
    (0.5, -0.1, 1.1, 0.0, "above", 60, "about 87 seeds"),  # of sixty: not twice as many
    (0.0, -1.0, 1.0, 0.0, "above", 5, "hardly anything: shift lies near the bound"),
    # cut at 1: the end towards the bound tells the width, 5·(0.2/0.1)²
    (0.95, 0.75, 1.0, 0.85, "above", 5, "about 20 seeds"),
    (0.08, -0.02, 0.18, 0.1, "within", 2, "about 50 seeds"),
    (0.05, -0.05, 0.15, 0.1, "within", 3, "about 12 seeds"),
    (0.5, math.nan, math.nan, 0.0, "above", 1, "more seeds: there is no interval from 1"),
    (math.nan, math.nan, math.nan, 0.0, "above", 0, "runs in which shift can be measured"),
])
def test_what_would_decide_it(value, low, high, bound, side, units, words):
    assert Effect("shift", Interval(value, low, high), bound, side, units).decides == words
