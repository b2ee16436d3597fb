"""The sentences: each verdict in words, what would decide it, and the sweep in one line."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.collapse import Break, Step
from analysis.crossed import UNKNOWN, Interval
from analysis.laws import Verdict, fit
from analysis.points import At
from analysis.verdicts import breaking, decides, headline, sentence, written
from tests.analysis.planted import planted_points

LR, BATCH = np.array([0.02, 0.04, 0.08, 0.16]), np.array([8, 16, 32, 64])


def fitted(lr=LR, batch=BATCH, seeds=3, **how):
    how = {"cell_sd": 0.01, "run_sd": 0.01, **how}
    return fit(planted_points(np.random.default_rng(0), lr, batch, seeds, **how))


@pytest.mark.parametrize(
    ("how", "start", "end"),
    [
        ({}, "λ_max at the end follows η/S: a + b = ", "over 16 cells, 3 seeds"),
        ({"b": 0.2}, "λ_max at the end does not follow η/S: ", "over 16 cells, 3 seeds"),
        ({"cell_sd": 0.5}, "λ_max at the end may or may not follow η/S: ", "16 cells, 3 seeds"),
        ({"batch": BATCH[:1]}, "λ_max at the end cannot be told to follow η/S rather than", "])"),
        ({"a": 0.0, "b": 0.0}, "λ_max at the end depends on neither η nor S", "16 cells, 3 seeds"),
        (
            {"a": 0.05, "b": 0.02, "cell_sd": 1e-3, "run_sd": 1e-3},
            "λ_max at the end hardly depends on η and S",
            "within ±0.1",
        ),
        ({"lr": LR[:1], "batch": BATCH[:1]}, "λ_max at the end is known in 1 cell", "one ratio"),
        ({"lr": LR[:1], "batch": BATCH[:2]}, "λ_max at the end is known in 2 cells", "for a law"),
    ],
)
def test_each_verdict_has_its_sentence(how, start, end):
    said = sentence(fitted(**how))
    assert said.startswith(start)
    assert said.endswith(end)


def test_the_numbers_in_the_sentence_are_the_fit_s():
    found = fitted(a=-0.7, b=0.2)
    assert written(found.total) in sentence(found)
    assert "η^{−0.70} S^{0.20}" in sentence(found)
    assert written(UNKNOWN) == "—"


@pytest.mark.parametrize(
    ("value", "half", "share", "words"),
    [
        # of 16 cells and 3 seeds; the half width must shrink from 0.1 to the gap 0.05, the variance
        # to a quarter: that of the cells stays, 3 · 0.9 / (0.25 − 0.1) seeds
        (0.05, 0.1, 0.9, "about 18 seeds (now 3)"),
        (0.15, 0.1, 1.0, "about 12 seeds (now 3)"),  # from outside the margin as well
        # what is left between cells is too much for any number of seeds
        (-0.05, 0.1, 0.1, "about 64 cells (now 16), or a wider grid; seeds alone will not do"),
        (-0.05, 0.1, 0.0, "about 64 cells (now 16), or a wider grid"),
        (0.1, 0.1, 0.9, "hardly anything"),
        (0.099, 0.1, 0.9, "hardly anything"),
        (0.05, 0.05, 0.9, "about 4 seeds (now 3)"),  # never less than what there is
    ],
)
def test_what_would_decide_it_is_arithmetic(value, half, share, words):
    total = Interval(value, value - half, value + half)
    open_ = replace(fitted(), verdict=Verdict.UNDECIDED, total=total, seed_share=share)
    assert decides(open_).startswith(words)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.HOLDS, ""),
        (Verdict.FAILS, ""),
        (Verdict.NO_LAW, ""),
        (Verdict.NOT_FITTED, "cells with different η and S that finish"),
    ],
)
def test_only_what_is_open_can_be_decided(verdict, words):
    assert decides(replace(fitted(), verdict=verdict)) == words
    unknown = replace(fitted(), verdict=Verdict.UNDECIDED, total=UNKNOWN)
    assert decides(unknown) == "cells in which η and S vary apart"


def broken(ratio, batches, kept, *, high=None):
    """A family from S = 8 whose first ``kept`` cells coincide (None: no yardstick)."""
    steps = tuple(
        Step(s / 8, s, ratio * s, 1.0, 1.0, 0, None if kept is None else i < kept)
        for i, s in enumerate(batches)
    )
    last = math.nan if kept is None else [8, *batches][kept] / 8
    return Break("train_loss", ratio, "", 8, 5, steps, Interval(last, 1.0, high or last))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], ""),
        ([broken(0.01, [16], None)], ""),  # one seed
        ([broken(0.01, [16, 32], 2)], "runs of equal ratio are not seen to part, up to S × 4"),
        # parted for most draws of seeds only: not established
        ([broken(0.01, [16, 32], 1, high=4)], "runs of equal ratio are not seen to part, up to"),
        (
            [broken(0.01, [16, 32], 1), broken(0.02, [16, 32], 2), broken(0.005, [16, 32], 1)],
            "runs of equal ratio part from S = 32 on at η/S = 0.005 (2 of 3 ratios do so",
        ),
        (
            [broken(0.01, [16, 32], 1), broken(0.02, [16], 0)],
            "runs of equal ratio part from S = 16",
        ),
    ],
)
def test_breaking(found, words):
    assert breaking(found).startswith(words)
    assert bool(breaking(found)) is bool(words)


def test_the_headline_puts_matched_loss_beside_equal_epochs():
    # equal epochs alone would favour the runs that learn fast
    main, twin = fitted(), fitted(a=-0.5, b=0.5, at=At("loss", 0.1))
    said = headline([main, twin], [broken(0.01, [16], 0)])
    first, second, third = said.split("; ")
    assert first == sentence(main)
    assert second.startswith("at train loss 0.1 the exponent is −0.5")
    assert third.startswith("runs of equal ratio part from S = 16")
    assert headline([], []) == "nothing was measured yet"
