"""A search that goes on asks for what it would have asked for without the break."""

import math

import pytest

from orchestrator.search.boundary import Boundary
from orchestrator.search.breaking import BreakPoint
from orchestrator.search.design import Law
from orchestrator.search.proposer import Outcome
from tests.orchestrator.search.test_breaking import RATIOS, Tables

METRIC = "hessian_lambda_max"


def law(_):
    return Law(0.01, 1, [8, 16, 32, 64, 128], metric=METRIC)


def power(point):
    lr, size = point.values["lr"], point.values["batch_size"]
    return Outcome("finished", {METRIC: lr**-0.7 * size**0.6 * (1 + 0.01 * math.sin(9 * lr))})


def boundary(_):
    return Boundary(1e-3, 10, [{"batch_size": s} for s in (8, 32, 128)])


def seeded(_):
    return Boundary(1e-3, 10, [{"batch_size": s} for s in (8, 32)], seeds=3)


def diverging(point):
    over = point.values["lr"] > 0.3 * (1 + 0.3 * point.values.get("seed", 0))
    return Outcome("diverged", {}, 1.0) if over else Outcome("finished")


def break_point(tables):
    return BreakPoint(8, 512, RATIOS, tables.judge)


@pytest.mark.parametrize(("make", "outcome", "width", "packs"), [
    (law, power, 8, 7),        # its first packs and every fourth are chosen by their number
    (boundary, diverging, 4, 6),
    (seeded, diverging, 4, 6),  # which seed stands where changes from pack to pack
    (break_point, lambda _: Outcome("finished"), 3, 8),
], ids=["law", "boundary", "seeded", "break_point"])
def test_asks_are_the_same_after_a_break_at_any_ask(make, outcome, width, packs):
    tables = Tables()
    whole, asks = make(tables), []
    for _ in range(packs):
        resumed = make(tables)
        for points in asks:
            resumed.adopt(points)
            for point in points:
                resumed.tell(point, outcome(point))
        expected = whole.ask(width)
        assert resumed.ask(width) == expected
        if not expected:
            break
        asks.append(expected)
        for point in expected:
            if make is break_point:
                tables.cells.setdefault(point.values["ratio"], set()).add(
                    point.values["batch_size"])
            whole.tell(point, outcome(point))
    assert len(asks) > 2


def test_a_point_that_is_told_again_counts_once_and_is_not_asked_for_again():
    """Where chance decides, the model may want the same η again: the same run, which says nothing.
    """
    one = Boundary(0.01, 30, [{"batch_size": 16}], resolution=0.05)
    every = []
    for _ in range(8):
        for point in one.ask(3):
            unstable = point.values["lr"] > 20 and len(every) % 2 == 0
            every.append(point)
            for _ in range(2):
                one.tell(point, Outcome("diverged", {}, 1.0) if unstable else Outcome("finished"))
    assert len(set(every)) == len(every) == one.edges[0].runs > 5


def test_the_law_says_its_exponents():
    one = law(None)
    assert one.told == ()
    for _ in range(4):
        for point in one.ask(8):
            one.tell(point, power(point))
    (line,) = one.told
    value = float(line.removeprefix("a + b = ").split()[0])
    assert value == pytest.approx(-0.7 + 0.6, abs=0.02)
    assert f"in {METRIC}" in line
    assert "standard error" in line
