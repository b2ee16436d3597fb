"""Intervals over seeds: Student's t, cut where the values cannot go."""

import math

import pandas as pd
import pytest

from analysis.claims import replicates


@pytest.mark.parametrize(("values", "range", "low", "high"), [
    # mean 0.95, sd 0.05, three values: half = 4.303·0.05/√3 = 0.1242
    ((0.9, 0.95, 1.0), replicates.ANY, 0.8258, 1.0742),
    ((0.9, 0.95, 1.0), replicates.CORRELATION, 0.8258, 1.0),
    ((-0.9, -0.95, -1.0), replicates.CORRELATION, -1.0, -0.8258),
    ((0.1, 0.0, 0.05), replicates.SHARE, 0.0, 0.1742),
    ((0.0, 1.0), replicates.SHARE, 0.0, 1.0),  # cut at both ends
    ((0.5,), replicates.SHARE, math.nan, math.nan),  # one seed has no interval, not all of [0, 1]
    ((), replicates.SHARE, math.nan, math.nan),
])
def test_an_interval_ends_where_the_values_must(values, range, low, high):
    found = replicates.interval(values, range=range)
    assert found.low == pytest.approx(low, abs=1e-4, nan_ok=True)
    assert found.high == pytest.approx(high, abs=1e-4, nan_ok=True)


def test_over_seeds_hands_its_range_on_and_counts_seeds_that_are_known():
    frame = pd.DataFrame({"seed": [0, 0, 1, 2, 3], "y": [0.8, 1.0, 0.95, 1.0, math.nan]})
    found, seeds = replicates.over_seeds(frame, lambda f: f["y"].mean(), replicates.SHARE)
    assert (seeds, found.high) == (3, 1.0)
    assert found.value == pytest.approx(0.95)


@pytest.mark.parametrize(("seeds", "kept", "shared"), [
    ({}, [], []),
    ({"a": [], "b": [0, 1]}, ["b"], [0, 1]),  # an empty table costs nothing
    ({"a": [0, 1, 2], "b": [9]}, ["a"], [0, 1, 2]),
    ({"a": [5, 6, 7], "b": [0, 1], "c": [0, 1]}, ["b", "c"], [0, 1]),  # 2 · 2 > 3
    ({"a": [0, 1, 2, 3], "b": [1, 2, 3]}, ["a", "b"], [1, 2, 3]),
    ({"a": [0, 1, 2], "b": [1, 2, 3], "c": [2, 1]}, ["a", "b", "c"], [1, 2]),
    ({"a": [0, 1], "b": [0]}, ["a"], [0, 1]),  # as many: the seeds
])
def test_tables_are_balanced_where_seeds_times_tables_are_most(seeds, kept, shared):
    tables = {key: pd.DataFrame({"x": 1.0}, index=some) for key, some in seeds.items()}
    found = replicates.balanced(tables)
    assert list(found) == kept
    assert all(list(t.index) == shared for t in found.values())
