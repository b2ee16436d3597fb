"""The law's proposer: shorter intervals than a grid's, away from what diverges."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.laws import fit
from orchestrator.search import proposer, section
from orchestrator.search.design import Law
from orchestrator.search.proposer import Outcome, Point, Setup
from tests.analysis.planted import planted_points

METRIC = "hessian_lambda_max"
LOW, HIGH, SIZES = 0.02, 0.32, (8, 16, 32, 64, 128)


def law(**options):
    return Law(LOW, HIGH, SIZES, metric=METRIC, **options)


def value(x):
    return Outcome("finished", {METRIC: x})


def searched(rng, proposed, packs, width):
    """The points of a planted sweep that the proposer asked for, with the values that it was told.
    """
    rates = sorted({c.values["lr"] for c in proposed._cells})
    every = planted_points(rng, np.array(rates), np.array(SIZES), 5)
    means = every.frame.groupby(["lr", "batch_size"])["value"].mean()
    chosen = []
    for _ in range(packs):
        for point in proposed.ask(width):
            cell = point.values["lr"], point.values["batch_size"]
            proposed.tell(point, value(float(means[cell])))
            chosen.append(cell)
    index = every.frame.set_index(["lr", "batch_size"]).index
    return replace(every, frame=every.frame[index.isin(chosen)].reset_index(drop=True)), chosen


@pytest.mark.parametrize("exponent", ["sum", "both"])
def test_its_interval_is_shorter_than_a_grids_of_as_many_runs(exponent):
    """25 cells of 5 seeds each: in the median of 16 planted sweeps at most 0.9 of the grid's."""
    ratios, held = [], 0
    for seed in range(16):
        found, chosen = searched(np.random.default_rng(seed), law(exponent=exponent), 5, 5)
        assert len(set(chosen)) == 25
        grid = planted_points(np.random.default_rng(1000 + seed), np.geomspace(LOW, HIGH, 5),
                              np.array(SIZES), 5)
        ours, theirs = (fit(p, resample=False) for p in (found, grid))
        held += ours.total.holds(0.0)
        if exponent == "sum":
            ratios.append(ours.total.half / theirs.total.half)
        else:
            ratios.append(np.mean([ours.laws["free"].exponents[n].half
                                   / theirs.laws["free"].exponents[n].half for n in "ab"]))
    assert np.median(ratios) < 0.9
    assert held >= 14


def test_a_pack_has_one_batch_size_and_no_cell_twice():
    proposed = law(exponent="both")
    asked = [proposed.ask(6) for _ in range(8)]
    assert all(len({p.values["batch_size"] for p in pack}) == 1 for pack in asked)
    every = [p for pack in asked for p in pack]
    assert len(set(every)) == len(every) == 48


def test_the_ends_come_first_and_every_fourth_pack_looks_between():
    """Two batch sizes alone would never show that a law bends."""
    proposed = law()
    sizes = [proposed.ask(3)[0].values["batch_size"] for _ in range(4)]
    assert sizes[:2] == [128, 8]
    assert sizes[3] in (16, 32, 64)


def test_it_stays_below_what_diverged():
    """η/S > 0.004 diverges: after the first hit at an S, none is asked for above it there or at a
    smaller S."""
    proposed, gone, wasted = law(exponent="both"), [], 0
    for _ in range(10):
        for point in proposed.ask(5):
            lr, size = point.values["lr"], point.values["batch_size"]
            if lr / size > 0.004:
                gone.append((lr, size))
                proposed.tell(point, Outcome("diverged", diverged=1.0))
                wasted += 1
            else:
                proposed.tell(point, value(1 / lr))
        if point := proposed.ask(1):
            lr, size = point[0].values["lr"], point[0].values["batch_size"]
            assert not any(lr >= x and size <= s for x, s in gone)
    assert 0 < wasted <= 12


def test_where_the_metric_scatters_cells_count_less():
    """S = 128 scatters ten times as much: its cells are worth less than those of S = 64."""
    proposed, rng = law(), np.random.default_rng(0)
    for point in proposed._cells:
        if rng.random() < 0.4:
            wide = 1.0 if point.values["batch_size"] == 128 else 0.1
            ratio = point.values["lr"] / point.values["batch_size"]
            proposed.tell(point, value(float(np.exp(-0.7 * np.log(ratio) + wide * rng.normal()))))
    at = {s: next(c for c in proposed._cells if c.values["batch_size"] == s) for s in (64, 128)}
    calm, wild = proposed._scatter([at[64], at[128]])
    assert wild > 10 * calm


def test_its_error_is_known_once_there_are_cells_enough():
    proposed = law()
    assert np.isnan(proposed.deviation)
    searched(np.random.default_rng(0), proposed, 4, 5)
    assert proposed.deviation == pytest.approx(0.02, rel=1.0)
    before = proposed.deviation
    searched(np.random.default_rng(0), proposed, 4, 5)
    assert proposed.deviation < before


@pytest.mark.parametrize(("metric", "exponent", "words"), [
    (METRIC, "sum", "a + b = 0.1 in hessian_lambda_max ∝ η^a·S^b, standard error"),
    ("test_accuracy", "a", "a = -0.5 in logit test_accuracy = c + a·log η + b·log S, standard"),
    ("test_accuracy", "both", "a = -0.5, b = 0.6 in logit test_accuracy = c + a·log η + b·log S"),
])
def test_the_line_says_what_was_fitted(metric, exponent, words):
    """An accuracy is a share: its logit is fitted, and no power law is one of it."""
    proposed = Law(LOW, HIGH, SIZES, metric=metric, exponent=exponent)
    assert proposed.told == ()
    for _ in range(4):
        for point in proposed.ask(5):
            lr, size = point.values["lr"], point.values["batch_size"]
            y = -0.5 * np.log(lr) + 0.6 * np.log(size) - 3
            share = float(1 / (1 + np.exp(-y)) if metric == "test_accuracy" else np.exp(y))
            proposed.tell(point, Outcome("finished", {metric: share}))
    assert proposed.told[0].startswith(words)


def test_strange_outcomes_are_passed_over():
    proposed = law()
    first = proposed.ask(3)
    proposed.tell(first[0], Outcome("failed"))
    proposed.tell(first[1], value(-1.0))
    proposed.tell(first[2], Outcome("finished"))
    proposed.tell(Point({"width": 8}), value(1.0))
    assert not set(first) & {p for _ in range(6) for p in proposed.ask(8)}


def test_points_under_way_are_adopted():
    one, two = law(), law()
    two.adopt(one.ask(5))
    assert one.ask(5) == two.ask(5)


def test_it_is_built_from_a_section():
    full = section.complete({
        "sampler": "law", "runs": 100, "objectives": {METRIC: "minimize"},
        "space": {"lr": {"log": [0.01, 1.0]}, "batch_size": [8, 32], "momentum": [0.0, 0.9]}})
    proposed = proposer.build(Setup(section.read(full), frozenset({"batch_size"}),
                                    lambda p: p["lr"] < 0.5, None, ""))
    pack = proposed.ask(4)
    assert len({p.values["momentum"] for p in pack}) == 1
    assert all(p.values["lr"] < 0.5 for _ in range(20) for p in proposed.ask(4))
