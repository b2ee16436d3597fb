"""How far below a bracket slow divergence may hide the edge."""

import math

import pytest

from orchestrator.search.threshold import Threshold
from orchestrator.search.track import Track


def track(*told):
    found = Track(Threshold(-1.0, 1.0))
    for x, steps, unstable in told:
        found = found.told(x, unstable=unstable, steps=steps)
    return found


@pytest.mark.parametrize(("told", "earliest"), [
    # 1 / steps is 0.01 at 0.2 and at most 0.001 at 0.1: the chord meets 0 at 0.1 - 0.1 / 9
    ([(0.1, 1000, False), (0.2, 100, True)], 0.1 - 0.1 / 9),
    # that chord says 0; that of the two that diverged, 1/500 and 1/100, says 0.2 - 0.1 / 4
    ([(0.1, 1000, False), (0.2, 500, True), (0.3, 100, True)], 0.1),
    ([(0.1, 1000, False), (0.2, 900, True), (0.5, 300, True)], 0.2 - 0.3 / 2),
    # nothing rises: the edge may be anywhere below
    ([(0.1, 1000, False), (0.2, 1000, True)], -1.0),
    # how long they ran is not known: the bracket is all there is
    ([(0.1, math.nan, False), (0.2, 100, True)], 0.1),
    ([(0.1, 1000, False), (0.2, math.nan, True)], 0.1),
    ([(0.1, 1000, False)], 0.1),
    ([(0.2, 100, True)], -math.inf),
])
def test_chords_of_the_pace(told, earliest):
    assert track(*told).earliest == pytest.approx(earliest)


@pytest.mark.parametrize("grown", [3, 14, 30])
@pytest.mark.parametrize("steps", [100, 1500])
def test_it_is_never_above_the_edge_of_a_quadratic(grown, steps):
    """log growth a step 2 log(2η/η* - 1), momentum or not concave in log η: chords lie below."""
    for first in (0.001, 0.01, 0.04):
        told = []
        for x in (-0.01, first / 2, first, 2.5 * first, 6 * first):
            needed = math.ceil(grown / (2 * math.log1p(2 * math.expm1(x)))) if x > 0 else math.inf
            told.append((x, min(needed, steps), needed <= steps))
        found = track(*told)
        if found.known.unstable:
            assert found.earliest <= 1e-3 * first
