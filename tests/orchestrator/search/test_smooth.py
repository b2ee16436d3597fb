"""What batch sizes say of another's boundary."""

import math

import pytest

from orchestrator.search.smooth import Known, expected


def at(size, edge, deviation=0.001):
    return Known(math.log(size), math.log(edge), deviation)


def test_nothing_known_says_nothing():
    assert expected(1.0, []) is None


def test_a_known_place_is_expected_to_be_as_it_is():
    found = expected(math.log(32), [at(8, 0.1), at(32, 0.3), at(128, 0.5)])
    assert abs(found.mean - math.log(0.3)) < 2 * found.deviation < 0.12


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_the_slope_is_learnt(slope):
    """Between full batch (0) and noise alone (1)."""
    found = expected(math.log(128), [at(s, 0.01 * s**slope) for s in (8, 16, 32, 64)])
    assert abs(found.mean - math.log(0.01 * 128**slope)) < 2 * found.deviation
    assert found.deviation < 0.35


def test_farther_and_vaguer_neighbours_say_less():
    near = expected(math.log(16), [at(8, 0.1)])
    assert near.deviation < expected(math.log(128), [at(8, 0.1)]).deviation
    assert near.deviation < expected(math.log(16), [at(8, 0.1, 1.0)]).deviation
