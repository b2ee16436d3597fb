"""Where training is lost: divergence, and runs that learn nothing at too large an η."""

import math

import pandas as pd
import pytest

from analysis.limit import Limit, limit


def runs(*cells):
    """(S, η, status, final loss of each seed) from 2.3 at step 0."""
    rows = [{"batch_size": s, "lr": lr, "status": status, "final_train_loss": loss}
            for s, lr, status, losses in cells for loss in losses]
    frame = pd.DataFrame(rows).assign(run_id=lambda f: f.index.astype(str))
    return frame, pd.DataFrame({"run_id": frame["run_id"], "step": 0, "train_loss": 2.3})


def test_most_runs_decide():
    """One of three that diverges is chance; two are the limit."""
    frame, first = runs((8, 0.1, "finished", [0.1] * 3), (8, 0.2, "finished", [0.1, 0.1]),
                        (8, 0.2, "diverged", [math.nan]), (8, 0.4, "diverged", [math.nan] * 2),
                        (8, 0.4, "finished", [0.1]))
    found = limit(frame, first, {8: 0.1})
    assert found == Limit({8: 0.2}, {8: 0.4})


def test_runs_that_learn_nothing_above_the_best_are_lost_and_slow_ones_below_are_not():
    frame, first = runs((8, 0.001, "finished", [2.25] * 3), (8, 0.1, "finished", [0.1] * 3),
                        (8, 0.8, "finished", [2.31] * 3))
    assert limit(frame, first, {8: 0.1}) == Limit({8: 0.1}, {8: 0.8})


def test_nothing_lost_is_no_limit():
    frame, first = runs((8, 0.1, "finished", [0.1] * 3))
    assert limit(frame, first, {8: 0.1}) is None
    assert limit(frame, first.iloc[:0], {8: 0.1}) is None  # step 0 was not measured


def test_a_batch_size_at_which_nothing_was_lost_is_known_to_train():
    """Its η is neither taken from another S nor a limit of those beside it."""
    frame, first = runs((8, 0.1, "finished", [0.1] * 3), (8, 0.2, "diverged", [math.nan] * 3),
                        (128, 3.2, "finished", [0.1] * 3))
    found = limit(frame, first, {8: 0.1, 128: 3.2})
    assert found == Limit({8: 0.1, 128: 3.2}, {8: 0.2, 128: math.inf})
    assert found.lost_from == {8: 0.2}
    assert found.at(128) == found.at(512) == (3.2, math.inf)
    assert found.at(4) == found.at(8) == (0.1, 0.2)
    assert found.at(32) == pytest.approx((0.1 * 32**0.5, math.inf))
    assert found.said(512) == "at S = 128 none was lost up to η = 3.2"


def test_between_batch_sizes_on_a_line_and_beyond_as_at_the_nearest():
    found = Limit({8: 0.1, 32: 0.2}, {8: 0.2, 32: 0.4})
    assert found.at(16) == pytest.approx((0.1 * 2**0.5, 0.2 * 2**0.5))
    assert found.at(4) == pytest.approx((0.1, 0.2))
    assert found.at(512) == pytest.approx((0.2, 0.4))
    assert found.said(512) == "at S = 32 runs were lost from η = 0.4 on"
