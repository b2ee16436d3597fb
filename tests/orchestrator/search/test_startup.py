"""How a search begins: whole packs, generations of packs, every value of a list looked at."""

import pytest

from orchestrator.search import section
from orchestrator.search.startup import first_look, population, random_runs, unseen

LISTS = {"batch_size": [8, 16], "width": [1, 2]}
ALL = [{"batch_size": b, "width": w} for b in (8, 16) for w in (1, 2)]


def search(runs, seeds=1):
    return section.read(section.complete({
        "sampler": "tpe", "runs": runs, "seeds": seeds, "space": {"lr": {"log": [0.01, 1.0]}},
        "objectives": {"a": "maximize"}}))


@pytest.mark.parametrize(("width", "runs"), [(1, 10), (4, 8), (8, 8), (10, 10), (32, 32)])
def test_random_runs_fill_packs(width, runs):
    assert random_runs(width) == runs


@pytest.mark.parametrize(("width", "combinations", "runs"), [
    (8, 2, 4), (8, 4, 4), (8, 8, 2), (8, 100, 2), (1, 4, 1), (2, 3, 1), (3, 100, 1), (64, 5, 25)])
def test_first_looks_are_two_packs_over_all_values(width, combinations, runs):
    """From a quarter to half of a pack each, and never none."""
    assert first_look(width, combinations) == runs


@pytest.mark.parametrize(("runs", "seeds", "width", "size"), [
    (40, 1, 8, 16), (160, 1, 8, 24), (320, 1, 8, 40), (320, 2, 8, 24), (9999, 1, 8, 48),
    (160, 1, 7, 21),  # whole packs
    (160, 1, 64, 20),  # a pack that holds more than any population
])
def test_a_population_is_whole_packs(runs, seeds, width, size):
    assert population(search(runs, seeds), width) == size


def test_every_combination_is_looked_at_once():
    seen = []
    for draw in (7, 0, 5, 2):
        seen += [{**unseen(LISTS, seen, search(100), draw), "lr": 0.1}]
    assert sorted((s["batch_size"], s["width"]) for s in seen) == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert unseen(LISTS, seen, search(100), 0) == {}


@pytest.mark.parametrize(("seen", "runs", "seeds", "empty", "found"), [
    (ALL[:1] * 8, 100, 1, [], ALL[1]),
    (ALL[:1] * 8, 100, 1, ALL[1:2], ALL[2]),  # no point with these values is inside
    (ALL[:1] * 8, 24, 1, [], {}),   # a third of the budget is spent
    (ALL[:1] * 4, 24, 2, [], {}),   # with two seeds a point too
    (ALL, 100, 1, [], {}),
])
def test_looking_ends(seen, runs, seeds, empty, found):
    assert unseen(LISTS, seen, search(runs, seeds), 0, empty) == found


def test_without_lists_there_is_nothing_to_look_at():
    assert unseen({}, [], search(100), 0) == {}
    assert unseen({"a": range(200), "b": range(200)}, [], search(100), 0) == {}  # too many
