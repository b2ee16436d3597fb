"""The boundary's proposer, on simulated outcomes with a boundary that is known."""

import math

import numpy as np
import pytest

from orchestrator.search import proposer, section
from orchestrator.search.boundary import Boundary
from orchestrator.search.proposer import Outcome, Point, Setup

SIZES = (8, 32, 128, 512)
LOW, HIGH = 1e-3, 10.0


def edge(size):
    """η* = 2 / (λ (1 + n / S)), λ = 3 and n = 20."""
    return 2 / (3 * (1 + 20 / size))


def lines(sizes=SIZES, **more):
    return [{"batch_size": s, **more} for s in sizes]


def ended(unstable):
    return Outcome("diverged", diverged=1.0) if unstable else Outcome("finished")


def values(points):
    return [p.values for p in points]


def search(boundary, width, star=edge, softness=0.0, budget=5000, rng=None):
    """Runs until the proposer ends or the budget is spent; the number of runs."""
    runs = 0
    while runs < budget and (points := boundary.ask(width)):
        assert len({p["batch_size"] for p in values(points)}) == 1, "a pack has one batch size"
        for p in points:
            shift = softness * rng.logistic() if softness else 0.0
            size, x = p.values["batch_size"], math.log(p.values["lr"])
            boundary.tell(p, ended(x > math.log(star(size)) + shift))
        runs += len(points)
    return runs


@pytest.mark.parametrize("width", [1, 2, 8, 16])
def test_found_to_one_per_cent_with_a_tenth_of_a_grids_runs(width):
    boundary = Boundary(LOW, HIGH, lines())
    runs = search(boundary, width)
    grid = len(SIZES) * math.log(HIGH / LOW) / math.log(1.01)
    assert runs <= grid / 10
    assert boundary.finished
    for found in boundary.edges:
        assert found.state == "found"
        assert found.low <= edge(found.scalars["batch_size"]) < found.high <= found.low * 1.0101


def test_a_smooth_boundary_costs_less_than_its_lines_alone():
    sizes = [2**k for k in range(3, 13)]
    together = search(Boundary(LOW, HIGH, lines(sizes)), 4)
    alone = sum(search(Boundary(LOW, HIGH, lines([s])), 4) for s in sizes)
    assert together <= 0.75 * alone


def test_a_boundary_that_jumps_is_found_all_the_same():
    """Neighbours are evidence, not proof."""
    star = {8: 1.0, 32: 0.01, 128: 5.0, 512: 0.002}.__getitem__
    boundary = Boundary(LOW, HIGH, lines())
    assert search(boundary, 8, star) < 200
    for found in boundary.edges:
        assert found.low <= star(found.scalars["batch_size"]) <= found.high


@pytest.mark.parametrize(("star", "state", "words"), [
    (lambda _: 20.0, "stable everywhere", "stable up to η = 10, the end of the space"),
    (lambda _: 1e-4, "unstable everywhere", "unstable from η = 0.001 on, the end of the space")])
def test_a_space_without_a_boundary_says_so(star, state, words):
    """After two packs a line, not by bisecting towards its end for ever."""
    boundary = Boundary(LOW, HIGH, lines())
    assert search(boundary, 8, star) <= 16 * len(SIZES)
    assert all(e.state == state and words in str(e) for e in boundary.edges)


def test_other_scalars_have_boundaries_of_their_own():
    boundary = Boundary(LOW, HIGH, lines((8, 32), momentum=0.0) + lines((8, 32), momentum=0.9))
    while points := boundary.ask(4):
        for p in points:
            star = edge(p.values["batch_size"]) * (1 - p.values["momentum"])
            boundary.tell(p, ended(p.values["lr"] > star))
    for found in boundary.edges:
        star = edge(found.scalars["batch_size"]) * (1 - found.scalars["momentum"])
        assert found.low <= star <= found.high


def test_chance_near_the_edge_is_told_and_its_middle_found():
    """The median threshold, from outcomes that no single threshold explains."""
    boundary = Boundary(LOW, HIGH, lines((32, 128)), resolution=0.05)
    search(boundary, 8, softness=0.03, budget=400, rng=np.random.default_rng(1))
    for found in boundary.edges:
        assert found.softness > 0
        assert found.low * 0.97 <= edge(found.scalars["batch_size"]) <= found.high * 1.03
        assert "where chance decides" in str(found)


def slow(boundary, star, steps, width=8, budget=2000):
    """Runs of full-batch gradient descent past the edge at η* (1 + δ) grow by 2 log(1 + 2δ) a step,
    and diverge when they have grown by e¹⁴; ``star``: η* of a size and a seed. How many ran."""
    runs = 0
    while runs < budget and (points := boundary.ask(width)):
        runs += len(points)
        for p in points:
            past = p.values["lr"] / star(p.values["batch_size"], p.values.get("seed", 0)) - 1
            needed = math.ceil(14 / (2 * math.log1p(2 * past))) if past > 0 else math.inf
            boundary.tell(p, Outcome("diverged", {}, 1.0, needed) if needed <= steps
                          else Outcome("finished", steps=steps))
    return runs


@pytest.mark.parametrize("steps", [300, 1500, 10_000])
def test_slow_divergence_is_taken_in(steps):
    """A run just past the edge is stable within its steps (1.2 % past it for 300): the bracket
    alone would lie above the edge."""
    boundary = Boundary(LOW, HIGH, lines())
    assert slow(boundary, lambda size, _: edge(size), steps) <= 120
    for found in boundary.edges:
        star = edge(found.scalars["batch_size"])
        assert found.low <= star <= found.high
        assert found.high / found.low - 1 <= 0.0101 + 14 / (4 * steps) * 1.2
        assert found.low >= star * 0.98


def test_each_seed_has_an_edge_of_its_own():
    """log η* of a seed is that of its size and a normal shift of 5 %: the told interval is of the
    mean over seeds, holds the truth on at least 11 of 12 lines, and is as wide as the shifts say.
    One bracket of 1 % would hold it on few."""
    held, widths, runs = [], [], []
    for k in range(3):
        shift = np.random.default_rng(k).normal(0, 0.05, (len(SIZES), 5))
        boundary = Boundary(LOW, HIGH, lines(), seeds=5)
        runs.append(slow(boundary, lambda size, seed, shift=shift: edge(size) * math.exp(
            shift[SIZES.index(size), seed]), 10_000))
        for row, found in zip(shift, boundary.edges, strict=True):
            star = edge(found.scalars["batch_size"])
            held.append(found.low <= star <= found.high)
            widths.append(math.log(found.high / found.low))
            assert (found.state, found.seeds) == ("found", 5)
            assert math.log(found.value / star) == pytest.approx(row.mean(), abs=0.006)
            assert found.deviation == pytest.approx(row.std(ddof=1), abs=0.006)
            assert "the mean of 5 seeds, whose edges differ by a factor 1." in str(found)
    assert sum(held) >= 11
    assert np.median(widths) == pytest.approx(2 * 2.78 * 0.05 / 5**0.5, rel=0.35)
    assert max(runs) / len(SIZES) <= 80  # a grid of 1 % has 926 a seed


def test_seeds_of_which_some_are_stable_to_the_end():
    """Two of three diverge at η = 8, the third at 20, beyond the space: no interval ends there."""
    boundary = Boundary(LOW, HIGH, lines([8]), seeds=3)
    slow(boundary, lambda _, seed: 20.0 if seed == 2 else 8.0, 10_000)
    (found,) = boundary.edges
    assert found.state == "found"
    assert found.low < 8 < found.value < HIGH
    assert found.high == math.inf


def test_seeds_take_turns():
    """At first, while their edges are as good as one."""
    points = Boundary(LOW, HIGH, lines([8]), seeds=3).ask(6)
    assert [p["seed"] for p in values(points)] == [0, 1, 2, 0, 1, 2]
    assert "seed" not in Boundary(LOW, HIGH, lines([8])).ask(1)[0].values


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_no_seed_keeps_its_place_in_the_pack(seeds):
    """Else the smallest η would always be one seed's, and the edge that seed's too."""
    boundary, smallest, all_ = Boundary(LOW, HIGH, lines([8]), seeds=seeds), set(), []
    for _ in range(3):
        points = boundary.ask(8)
        smallest.add(points[0].values["seed"])
        all_ += [p.values["seed"] for p in points]
        for p in points:
            boundary.tell(p, ended(p.values["lr"] > edge(8)))
    assert len(smallest) > 1
    counts = [all_.count(s) for s in range(seeds)]
    assert max(counts) - min(counts) <= 1


def test_a_search_that_goes_on_asks_with_the_same_seeds():
    """What the rows of a session before tell, not how often it asked, says whose turn it is."""
    one, two = (Boundary(LOW, HIGH, lines([8]), seeds=3) for _ in range(2))
    for p in one.ask(8):
        for boundary in (one, two):
            boundary.tell(p, ended(p.values["lr"] > edge(8)))
    assert one.ask(8) == two.ask(8)


def test_packs_under_way_go_to_other_lines_and_end_in_silence():
    """Several trials run at once: none repeats another's points, nor those of a session before."""
    boundary = Boundary(LOW, HIGH, lines((8, 32)))
    first, second = boundary.ask(4), boundary.ask(4)
    assert {p["batch_size"] for p in (first[0].values, second[0].values)} == {8, 32}
    assert boundary.ask(4) == []
    assert not boundary.finished
    for p in first:
        boundary.tell(p, Outcome("failed"))  # nothing learnt, and the line is free again
    assert boundary.ask(4) == first
    later = Boundary(LOW, HIGH, lines((8, 32)))
    later.adopt(first)
    assert later.ask(4) == second
    assert later.ask(4) == []


def test_a_line_on_which_all_fails_is_given_up():
    boundary = Boundary(LOW, HIGH, lines((8, 32)))
    while points := boundary.ask(2):
        for p in points:
            failed = p.values["batch_size"] == 8
            boundary.tell(p, Outcome("failed") if failed else ended(p.values["lr"] > edge(32)))
    assert boundary.finished
    assert [e.state for e in boundary.edges] == ["open", "found"]
    assert boundary.edges[0].runs == 0


def test_rows_of_earlier_sweeps_are_knowledge():
    boundary = Boundary(LOW, HIGH, lines([8]))
    boundary.tell(Point({"lr": 0.1, "batch_size": 8}), ended(unstable=False))
    boundary.tell(Point({"lr": 0.3, "batch_size": 8}), Outcome("finished", diverged=0.6))
    boundary.tell(Point({"lr": 0.3, "batch_size": 999}), ended(unstable=True))  # not of this space
    assert all(0.1 < p["lr"] < 0.3 for p in values(boundary.ask(4)))


def test_a_filter_cuts_the_ends_of_lines():
    """``keep: lr <= 0.01 * batch_size`` leaves no place above, and of S = 0.05 nothing at all."""
    boundary = Boundary(LOW, HIGH, lines((0.05, 8, 32)),
                        inside=lambda p: p["lr"] <= 0.01 * p["batch_size"])
    assert search(boundary, 8) < 50
    small, large = boundary.edges
    assert small.state == "stable everywhere"
    assert small.low == pytest.approx(0.08, rel=0.05)
    assert large.low <= edge(32) <= large.high


def test_it_is_built_from_a_section():
    search_ = section.read(section.complete({
        "sampler": "boundary", "runs": 100, "options": {"resolution": 0.05}, "seeds": 3,
        "space": {"lr": {"log": [0.001, 10]}, "batch_size": [8, 32], "momentum": [0.0, 0.9]}}))
    setup = Setup(search_, frozenset({"batch_size"}), lambda _: True, None, "")
    points = proposer.build(setup).ask(4)
    assert [sorted(p) for p in values(points)] == [["batch_size", "lr", "momentum", "seed"]] * 4
    boundary = proposer.build(setup)
    assert (len(boundary.edges), boundary.resolution) == (4, 0.05)


def test_the_same_outcomes_bring_the_same_questions():
    asked = []
    for _ in range(2):
        boundary, trace = Boundary(LOW, HIGH, lines()), []
        while points := boundary.ask(3):
            trace += points
            for p in points:
                boundary.tell(p, ended(p.values["lr"] > edge(p.values["batch_size"])))
        asked.append(trace)
    assert asked[0] == asked[1]


def test_a_full_batch_is_a_line_without_neighbours():
    boundary = Boundary(LOW, HIGH, [{"batch_size": "full", "init_scale": s} for s in (0.5, 1.0)])
    while points := boundary.ask(8):
        for p in points:
            boundary.tell(p, ended(p.values["lr"] > 0.4 / p.values["init_scale"]))
    assert [e.low <= 0.4 / s <= e.high for e, s in zip(boundary.edges, (0.5, 1.0), strict=True)]
