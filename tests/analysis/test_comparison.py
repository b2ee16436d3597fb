"""Laws compared by left-out cells: the right one wins, and a tie is called one."""

import numpy as np
import pytest

from analysis.comparison import compare
from analysis.laws import fit
from tests.analysis.planted import planted_points

LR, BATCH = 0.02 * 2.0 ** np.arange(5), 8 * 2 ** np.arange(5)


@pytest.mark.parametrize(
    ("a", "b", "best"),
    [(-0.7, 0.7, "ratio"), (-0.7, 0.35, "sqrt"), (-0.7, 0.0, "lr"), (0.0, 0.7, "batch")],
)
def test_the_planted_law_predicts_best(a, b, best):
    found = fit(planted_points(np.random.default_rng(0), LR, BATCH, 3, a=a, b=b)).comparison
    assert found.best == best
    others = [rival for rival in found.rivals if rival.name != "free"]
    assert all(rival.told_apart and rival.smaller.value > 0.2 for rival in others)
    assert [r.smaller.value for r in found.rivals] == sorted(r.smaller.value for r in found.rivals)


def test_errors_are_paired_cell_by_cell():
    # one wild cell that neither predicts: unpaired, the difference would drown in it
    base = np.r_[np.full(19, 0.1), 5.0]
    near = base * 1.02
    found = compare({"ratio": base, "sqrt": near}).rivals[0]
    assert found.smaller.value == pytest.approx(1 - 1 / 1.02)
    assert found.told_apart


def test_the_share_is_that_of_the_root_mean_squares():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 400), rng.normal(0, 2, 400)
    found = compare({"ratio": one, "lr": other}).rivals[0].smaller
    assert found.value == pytest.approx(1 - np.sqrt(np.mean(one**2) / np.mean(other**2)))
    assert found.holds(0.5)
    assert found.half < 0.1


@pytest.mark.parametrize(
    "errors",
    [
        {},
        {"ratio": np.ones(9)},  # nothing to compare with
        {"ratio": np.ones(9), "free": np.ones(9)},  # the free law is no rival of one exponent
        {"ratio": np.ones(5), "lr": np.ones(5)},  # five cells
    ],
)
def test_too_little_is_not_compared(errors):
    assert compare(errors) is None


def test_a_cell_that_cannot_be_left_out_is_left_out_of_the_comparison():
    one = np.r_[np.nan, np.full(8, 0.1)]
    found = compare({"ratio": one, "lr": np.full(9, 0.2)})
    assert found.best == "ratio"
    assert found.rivals[0].smaller.value == pytest.approx(0.5)
