"""What one line of runs says of its threshold: brackets while outcomes agree, chance where not."""

import math

import numpy as np
import pytest

from orchestrator.search.threshold import Expected, Threshold

LINE = Threshold(0.0, 10.0)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_pack_shrinks_a_bracket_by_its_width_and_one(width):
    known = LINE.told(2.0, unstable=False).told(5.0, unstable=True)
    marks = [2.0, *known.next(width), 5.0]
    assert np.diff(marks) == pytest.approx(np.full(width + 1, 3 / (width + 1)), rel=1e-6)


def test_points_gather_where_neighbours_expect_the_threshold():
    """Most of a pack, not all of it: neighbours may be wrong."""
    points = LINE.next(8, Expected(7.0, 0.1))
    assert sum(abs(x - 7) < 0.3 for x in points) >= 5
    assert min(points) < 6


def test_an_end_is_tried_before_it_is_believed():
    """Stable at the largest of a pack says nothing of the end of the space."""
    known = LINE
    for x in known.next(8):
        known = known.told(x, unstable=False)
    assert known.largest_stable < 10
    assert max(known.next(8)) == 10
    assert len(set(known.next(8))) == 8


def test_outcomes_that_disagree_with_one_threshold_make_it_soft():
    known = LINE.told(4.0, unstable=True).told(6.0, unstable=False)
    assert not known.sharp
    belief = known.belief()
    assert belief.softness > 0
    assert belief.quantile(0.5) == pytest.approx(5.0, abs=0.05)
    assert belief.quantile(0.025) < 4 < 6 < belief.quantile(0.975)


def test_softness_elsewhere_widens_what_two_outcomes_say():
    """A single lucky run must not end the search where runs are known to be a matter of chance."""
    known = LINE.told(4.9, unstable=False).told(5.0, unstable=True)
    assert known.belief().spread <= 0.1
    assert known.belief(None, 0.5).spread > 1
    assert LINE.told(4.9, unstable=False).belief(None, 0.5).softness == 0


def test_the_middle_of_a_soft_edge_is_found():
    """P(unstable) = logistic((x − 6) / 0.3): the 95 % interval holds 6 in at least 17 of 20."""
    held = 0
    for seed in range(20):
        rng, known = np.random.default_rng(seed), LINE
        for _ in range(12):
            for x in known.next(8):
                known = known.told(x, unstable=bool(x > 6 + 0.3 * rng.logistic()))
        belief = known.belief()
        held += belief.quantile(0.025) <= 6 <= belief.quantile(0.975)
        assert belief.quantile(0.975) - belief.quantile(0.025) < 0.8
    assert held >= 17


def test_probabilities_add_up():
    for known in (LINE, LINE.told(3.0, unstable=False), LINE.told(10.0, unstable=False),
                  LINE.told(0.0, unstable=True)):
        for expected in (None, Expected(3.0, 1.0), Expected(-50.0, 0.1)):
            belief = known.belief(expected)
            assert belief.inside.sum() + belief.below + belief.above == pytest.approx(1.0)
            assert all(math.isfinite(x) for x in known.next(5, expected))
