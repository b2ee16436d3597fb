"""First readings of paths of a few snapshots, by hand."""

import pandas as pd
import pytest

from analysis.levels import first_reading


def paths(**runs):
    """Runs of (x, y) pairs, as rows in order; the index is that of a filtered frame."""
    frame = pd.DataFrame([(name, x, y) for name, path in runs.items() for x, y in path],
                         columns=["run_id", "x", "y"])
    return frame.set_axis(range(10, 10 + len(frame)))


def rising(rows, level):
    return first_reading(rows, ["y"], rows["x"], rows["x"] >= level, level)


@pytest.mark.parametrize(("path", "y", "at_once"), [
    ([(0.0, 10.0), (1.0, 20.0)], 14.0, False),  # four tenths of the way
    ([(0.0, 10.0), (1.0, 20.0), (0.0, 0.0), (1.0, 0.0)], 14.0, False),  # the first time
    ([(0.0, 10.0), (0.4, 20.0), (0.4, 30.0)], 20.0, False),  # just there
    ([(0.5, 10.0), (1.0, 20.0)], 10.0, True),  # since when is not known
    ([(0.4, 10.0), (0.3, 20.0)], 10.0, True),
    ([(float("nan"), 10.0), (1.0, 20.0)], 20.0, False),  # from where is not known
])
def test_a_path_is_read_where_it_first_reaches_the_level(path, y, at_once):
    # the run before ends below the level: nothing of it is read
    found = rising(paths(other=[(0.0, 99.0)], a=path), 0.4)
    assert found.index.tolist() == ["a"]
    assert found["y"].tolist() == pytest.approx([y])
    assert found["at_once"].tolist() == [at_once]


def test_falling_is_the_same_with_signs_turned():
    rows = paths(a=[(1.0, 0.0), (0.5, 1.0), (0.0, 3.0)], b=[(1.0, 0.0), (0.9, 1.0)])
    found = first_reading(rows, ["y", "x"], rows["x"], rows["x"] <= 0.25, 0.25)
    assert found[["y", "x"]].to_dict("index") == {"a": {"y": 2.0, "x": 0.25}}


def test_no_run_at_the_level_is_no_row():
    found = rising(paths(a=[(0.0, 1.0), (0.1, 2.0)]), 0.5)
    assert found.empty
    assert found.columns.tolist() == ["y", "at_once"]
