"""Sentences beside the verdict: each says what was planted, and none is said without ground."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.boundary import boundary
from analysis.collapse import Break, Step
from analysis.crossed import Interval
from analysis.findings import best, findings, grown, reach, sized, stable, timed
from analysis.laws import fit
from analysis.sizes import fit_sizes, growth
from analysis.times import fit_times
from tests.analysis.planted import planted_points, planted_thresholds, planted_times

LR, BATCH = 0.02 * 2.0 ** np.arange(6), 8 * 2 ** np.arange(4)


def points(**how):
    how = {"cell_sd": 0.01, "run_sd": 0.01, **how}
    return planted_points(np.random.default_rng(0), LR, BATCH, 5, **how)


def broken_at_large_ratios():
    chosen = points()
    frame = chosen.frame
    high = frame["ratio"] > frame["ratio"].median()
    y = frame["y"] + 0.4 * high * np.log(frame["batch_size"])
    return type(chosen)(chosen.metric, chosen.at, frame.assign(y=y), ())


def test_a_law_that_holds_everywhere_needs_no_list_of_ratios():
    found = fit(points(cell_sd=0.0))
    assert reach(found) == ""


def test_where_the_law_breaks_is_said_ratio_by_ratio():
    said = reach(fit(broken_at_large_ratios()))
    assert said.startswith("ratio by ratio a + b of λ_max at the end is within ±0.1 at η/S = ")
    assert "outside at η/S = " in said
    assert "(0.40)" in said or "(0.39)" in said or "(0.41)" in said


def test_the_best_law_is_named_with_its_lead():
    said = best(fit(points(b=0.0)))
    assert said.startswith("η alone predicts λ_max at the end of a cell left out best")
    assert "smaller than that of η/√S" in said
    assert said.endswith("no better")
    assert best(fit(planted_points(np.random.default_rng(0), LR[:1], BATCH[:1], 5))) == ""


def test_laws_that_are_one_by_design_are_not_compared():
    chosen = planted_points(np.random.default_rng(0), LR, 8 * 2 ** np.arange(6), 5, cell_sd=0.01)
    frame = chosen.frame[np.isclose(chosen.frame["ratio"], 0.0025)]  # η goes with S
    found = fit(replace(chosen, frame=frame))
    assert found.comparison is not None
    assert best(found) == ""


def test_the_part_of_n_is_not_told_where_it_is_unknown():
    found = fit_sizes(points(train_size=(500, 1000, 2000)))
    unknown = replace(found, size=Interval(*[math.nan] * 3), verdict="undecided")
    assert sized(found)
    assert sized(unknown) == ""


def test_a_tie_is_called_one():
    said = best(fit(points(a=0.0, b=0.0, cell_sd=0.5)))
    assert "which cells cannot tell apart" in said


def test_runs_that_did_not_get_there_are_counted_out_loud():
    said = timed(fit_times(planted_times(np.random.default_rng(1), LR, BATCH, 5, 300.0)))
    assert "did not get there and count as such" in said
    assert "η/S: they go as η to the −" in said
    all_there = timed(fit_times(planted_times(np.random.default_rng(1), LR, BATCH, 5, 1e9)))
    assert "all 120 runs got there" in all_there


def test_the_boundary_in_words():
    runs = planted_thresholds(
        np.random.default_rng(0), lambda _: 0.03 * 1.2 ** np.arange(30), BATCH, 3, c=0.5)
    said = stable(boundary(SimpleNamespace(runs=runs)))
    assert said.startswith("the largest η that does not diverge goes as S to the 0.")
    assert f"of {len(runs)} runs diverged" in said
    assert stable(None) == ""
    alone = replace(boundary(SimpleNamespace(runs=runs)), exponent=Interval(0.05, *[math.nan] * 2))
    assert stable(alone).startswith("the largest η that does not diverge goes as S to the 0.05 (")


def a_break(n, last, factors=(2, 4, 8)):
    steps = tuple(Step(k, 8 * k, 0.01 * k, 1.0, 1.0, 0, k <= last) for k in factors)
    return Break("train_loss", 0.01, "", 8, 5, steps, Interval(last, last, last), n, "",
                 np.full(50, float(last)))


@pytest.mark.parametrize(
    ("lasts", "words"),
    [
        ((1, 4), "part later the more training examples there are: the break moves by 1.00"),
        ((4, 1), "part earlier"),
        ((2, 2), "may or may not part later"),
        ((8, 8), "do not part at any N up to a factor of 8, the largest that all N have"),
        ((1, 8), "; a break beyond 8 times, the largest factor that all N have, counts as there"),
    ],
)
def test_growth_with_n_in_words(lasts, words):
    (found,) = growth([a_break(n, last) for n, last in zip((500, 2000), lasts, strict=True)])
    said = grown(found)
    assert words in said
    assert "(N from 500 to 2,000, 1 ratio)" in said
    assert "an indication" not in said


def test_growth_of_few_seeds_is_an_indication():
    (found,) = growth([replace(a_break(n, last), seeds=4) for n, last in ((500, 1), (2000, 4))])
    said = grown(found)
    assert "may or may not part later the more training examples there are" in said
    assert said.endswith("; with fewer than 5 seeds that is an indication")


@pytest.mark.parametrize(
    ("c", "words"),
    [(0.0, "follows η/S whatever N is"), (-0.7, "follows ηN/S"), (-0.35, "follows neither")],
)
def test_the_part_of_n_in_words(c, words):
    found = fit_sizes(points(c=c, train_size=(500, 1000, 2000)))
    assert sized(found).startswith(f"λ_max at the end {words}")
    assert ": N enters with exponent " in sized(found)


def test_nothing_is_said_of_nothing():
    assert findings((), (), None, (), ()) == ()
    alone = replace(fit(points()), equal_ratio=None)
    assert len(findings((alone,), (), None, (), ())) == 1  # the comparison of laws
