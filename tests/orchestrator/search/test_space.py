"""Spaces: the rules of axes hold for them, and points become the configs of ordinary runs."""

import pytest

from orchestrator.errors import UserError
from orchestrator.planner import make_plan
from orchestrator.search.section import Range
from orchestrator.search.space import Space, identity, search_of
from tests.orchestrator.specs import spec

SEARCH = {"sampler": "random", "runs": 10, "objectives": {"test_accuracy": "maximize"}}
RATIO = {"ratio": {"log": [1e-4, 1e-2]}, "batch_size": [8, 16]}


def searched(folder, space, sweep=None, **sections):
    return spec(folder, sweep={"search": {**SEARCH, "space": space}, **(sweep or {})},
                without=("lr", "batch_size"), **sections)


def test_what_is_derived_follows_from_a_point(tmp_path):
    space = Space(searched(tmp_path, RATIO, {"derived": {"lr": "ratio * batch_size"}}), 100)
    config = space.config({"ratio": 0.001, "batch_size": 16})
    assert config["train"]["lr"] == 0.016
    assert config["train"]["batch_size"] == 16
    assert space.shared() == {"batch_size"}


def test_what_keep_excludes_is_outside(tmp_path):
    space = Space(searched(tmp_path, {"lr": {"log": [0.01, 1]}, "batch_size": [8, 16]},
                           {"keep": "lr * batch_size < 1"}), 100)
    assert space.inside({"lr": 0.01, "batch_size": 8})
    assert not space.inside({"lr": 1.0, "batch_size": 8})


@pytest.mark.parametrize(("name", "given", "whole"), [
    ("batch_size", {"log": [8, 64]}, True),         # takes whole numbers only
    ("model.width", {"linear": [2, 9]}, True),
    ("momentum", {"linear": [0, 0.5]}, False),      # one end is no whole number
    ("lr", {"log": [1, 10]}, False),                # whole ends of a scalar that takes any number
    ("free", {"linear": [1, 10]}, False),           # no scalar: any number
])
def test_ranges_of_whole_numbers(tmp_path, name, given, whole):
    base = {"lr": [0.1, 0.2], "batch_size": [8, 16]}
    derived = {"derived": {"weight_decay": "free / 100"}} if name == "free" else {}
    found = search_of(searched(tmp_path, {**base, name: given}, derived))
    assert found.space[name] == Range(*next(iter(given.values())), "log" in given, whole)


def test_seeds_are_runs_of_one_point(tmp_path):
    from orchestrator.search.proposer import Point

    one = searched(tmp_path, {"lr": {"log": [0.01, 1]}, "batch_size": [8, 16]})
    one.sweep.search["seeds"] = 3
    configs = Space(one, 100).configs(Point({"lr": 0.1, "batch_size": 8}))
    assert [c["seed"] for c in configs] == [0, 1, 2]
    own = Space(one, 100).configs(Point({"lr": 0.1, "batch_size": 8, "seed": 7}))
    assert [c["seed"] for c in own] == [7]  # a proposer that places single seeds


def test_more_runs_or_more_knowledge_go_on_with_the_same_search(tmp_path):
    space = {"lr": {"log": [0.01, 1]}, "batch_size": [8, 16]}
    one = searched(tmp_path, space)
    two = searched(tmp_path, space)
    two.sweep.search.update(runs=99, know=["x"])
    other = searched(tmp_path, {**space, "batch_size": [8, 32]})
    assert identity(one) == identity(two) != identity(other)


@pytest.mark.parametrize(("space", "keep", "what"), [
    # a choice that no run can have, seen once the data is known
    ({"lr": [0.1], "batch_size": [8, 4096]}, None, "batch_size 4096 is larger than the training"),
    ({"lr": {"log": [0.1, 1]}, "batch_size": [8]}, "lr > 2", "keep leaves nothing of the space"),
])
def test_what_shows_when_planning(tmp_path, space, keep, what):
    with pytest.raises(UserError, match=what):
        make_plan(searched(tmp_path, space, {"keep": keep} if keep else {}))
