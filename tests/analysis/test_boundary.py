"""The boundary of divergence against boundaries that were planted."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.boundary import boundary
from tests.analysis.planted import planted_thresholds

BATCH = 8 * 2 ** np.arange(6)


def fine(_):
    return 0.03 * 1.2 ** np.arange(30)


def planted(rng=0, lr=fine, batch=BATCH, seeds=3, **how):
    how = {"c": 0.5, **how}
    runs = planted_thresholds(np.random.default_rng(rng), lr, batch, seeds, **how)
    return SimpleNamespace(runs=runs)


@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_a_planted_power_is_found(c):
    found = boundary(planted(c=c))
    assert found.exponent.holds(c)
    assert found.exponent.half < 0.25
    assert found.at(32).holds(0.3 * 4**c)
    assert found.at(32).low > 0.15 * 4**c


def test_a_sharp_boundary_is_known_to_the_grid_s_step():
    # no scatter at all: any line through the brackets will do, and the interval says so
    coarse = boundary(planted(lr=lambda s: 0.02 * s / 8 * 2.0 ** np.arange(8), c=1.0,
                              batch_sd=0.0, run_sd=0.0))
    steps = math.log(2) / math.log(32)
    assert coarse.exponent.low < 1 - steps / 2 < 1 + steps / 2 < coarse.exponent.high
    assert coarse.returns == 0


def test_batch_sizes_are_the_units_not_runs():
    runs = planted(seeds=1).runs
    copies = pd.concat([runs.assign(seed=seed) for seed in range(8)], ignore_index=True)
    one, many = (boundary(SimpleNamespace(runs=r)).exponent for r in (runs, copies))
    assert many == one


def test_a_batch_size_that_never_diverges_is_not_left_out():
    # the grid ends below the boundary of the larger half
    found = boundary(planted(lr=lambda _: 0.03 * 1.2 ** np.arange(17)))
    assert np.isinf(found.brackets["high"]).sum() >= 2
    assert len(found.brackets) == 6
    assert found.exponent.holds(0.5)
    # without those the rest would be all there is: fewer points, a wider interval or a bias
    assert found.exponent.low > 0.0


def test_runs_that_return_above_a_divergence_are_counted():
    sweep = planted()
    runs = sweep.runs.copy()
    top = (runs["batch_size"] == 8) & (runs["lr"] == runs["lr"].max())
    runs.loc[top, "status"] = "finished"
    found = boundary(SimpleNamespace(runs=runs))
    assert found.returns == 3
    assert found.exponent.value == pytest.approx(boundary(sweep).exponent.value)


def test_the_probability_of_divergence_is_that_of_the_thresholds():
    found = boundary(planted(seeds=20, run_sd=0.3, batch_sd=0.0))
    assert found.spread == pytest.approx(0.3, rel=0.25)
    lr = found.at(32).value
    assert found.probability(lr, 32) == pytest.approx(0.5, abs=0.1)
    assert found.probability(lr * math.exp(0.3), 32) == pytest.approx(0.84, abs=0.1)


def test_settings_have_a_level_of_their_own():
    low, high = planted().runs, planted(rng=1).runs
    high = high.assign(setting=1, setting_label="momentum 0.9", lr=high["lr"] / 10)
    found = boundary(SimpleNamespace(runs=pd.concat([low, high], ignore_index=True)))
    assert found.exponent.holds(0.5)
    assert found.at(32, 0).value / found.at(32, 1).value == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_all_alike_is_no_boundary(status):
    runs = planted().runs
    assert boundary(SimpleNamespace(runs=runs.assign(status=status))) is None


@pytest.mark.parametrize(
    ("batch", "known"), [(BATCH[:1], False), (BATCH[:2], False), (BATCH[:3], True)]
)
def test_too_few_batch_sizes_give_no_interval(batch, known):
    found = boundary(planted(batch=batch)).exponent
    assert math.isfinite(found.low) is known
