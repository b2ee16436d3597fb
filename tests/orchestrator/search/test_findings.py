"""What a search says it has found."""

import pytest

from orchestrator.search import section
from orchestrator.search.findings import Findings
from orchestrator.search.proposer import Outcome, Point


def findings(objectives, values):
    search = section.read(section.complete({
        "sampler": "tpe", "runs": 9, "space": {"lr": {"log": [0.01, 1]}},
        "objectives": objectives}))
    made = Findings(search)
    for i, row in enumerate(values):
        outcome = Outcome("diverged", {}, 1.0) if row is None else Outcome(
            "finished", dict(zip(objectives, row, strict=True)))
        made.add(Point({"lr": float(i)}), outcome, [f"run{i}"])
    return made


@pytest.mark.parametrize(("objectives", "values", "best"), [
    ({"a": "maximize"}, [(1,), (3,), None, (2,)], [1]),
    ({"a": "minimize"}, [(1,), (3,), None, (2,)], [0]),
    # (a up, b down): 1 has the larger a, 2 the smaller b, 0 is worse than 1 in both
    ({"a": "maximize", "b": "minimize"}, [(1, 9), (3, 5), (2, 4), None], [1, 2]),
    ({"a": "maximize", "b": "minimize"}, [(1, 1), (1, 1), (0, 1)], [0, 1]),  # equal points, both
    ({"a": "maximize"}, [None, None], []),
])
def test_best_and_front(objectives, values, best):
    assert [f.run_ids for f in findings(objectives, values).best] == [(f"run{i}",) for i in best]


def test_in_words():
    assert findings({"a": "minimize"}, [(1.5,), (0.25,)]).lines() == [
        "best: a 0.25 at lr = 1 (run run1)"]
    front = findings({"a": "minimize", "b": "minimize"}, [(1.0, 2.0), (2.0, 1.0)])
    assert front.headline() == "Pareto front of 2"
    assert front.lines()[0] == "Pareto front of 2 points:"
    assert findings({"a": "minimize"}, []).lines() == []


def test_a_point_that_failed_at_first_counts_when_it_ends():
    made = findings({"a": "minimize"}, [(1.0,)])
    point = Point({"lr": 7.0})
    made.add(point, Outcome("failed"), ["x"])
    assert made.told == 1
    made.add(point, Outcome("finished", {"a": 0.5}), ["x"])
    assert made.told == 2
    assert made.facts()["best"] == [
        {"values": {"lr": 7.0}, "objectives": {"a": 0.5}, "run_ids": ["x"]}]
