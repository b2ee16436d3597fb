"""The break-even model: growth of ψ² under minibatches drawn without replacement."""

import math
from itertools import permutations

import pytest
import torch

from tests.trainables.runs import HERE
from trainables.landscape import Subject, run
from trainables.landscape import break_even as module
from trainables.landscape.break_even import (
    crossing,
    deviations,
    growth,
    growths,
    minibatches,
    predicted,
    share,
)


def probed(options, seed=0):
    found = run("break_even", Subject((), (), None, seed, torch.device("cpu"), HERE), options)
    return {(q, c.series, float(c.x[0])): float(c.value[0, 0]) for q, c in found}


def test_growth_and_break_even_are_the_predicted_ones():
    """PAPERS F5: exactly, where all minibatches are taken."""
    found = probed({})
    for size in (1, 2, 4, 12):
        for lr in (0.05, 0.1, 0.2):
            measured, wanted = (found["break_even_growth", f"{name}_{size}", lr]
                                for name in ("measured", "predicted"))
            assert measured == pytest.approx(wanted, rel=1e-12, abs=1e-14)
            assert found["break_even_error", str(size), lr] == 0
            assert found["break_even_curvature", f"found_{size}", lr] == pytest.approx(
                found["break_even_curvature", f"predicted_{size}", lr], rel=1e-9)
    assert found["break_even_curvature", "predicted_12", 0.2] == 10, "S = N: the edge 2/η"
    assert found["break_even_growth", "predicted_1", 0.2] == pytest.approx(1.4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_first_minibatch_of_every_order_of_the_examples(size):
    """Literal steps ψ − η mean(H_i ψ), over all 120 orders of five examples."""
    lr, curvature, alpha, psi = 0.3, 4.0, 2.0, 1.7
    each = curvature + (alpha * curvature) ** 0.5 * deviations(5, seed=3)
    assert each.mean().item() == pytest.approx(curvature)
    assert each.var(unbiased=False).item() == pytest.approx(alpha * curvature)
    after = [psi - lr * float((each[list(order[:size])] * psi).mean())
             for order in permutations(range(5))]
    mean = sum(a**2 for a in after) / len(after) / psi**2
    assert mean == pytest.approx(growth(lr, curvature, alpha * curvature, share(5, size)))


def test_a_sample_of_minibatches_is_within_its_error():
    found = probed({"examples": 60, "batch_size": [8], "draws": 5000})
    for lr in (0.05, 0.1, 0.2):
        gap = (found["break_even_growth", "measured_8", lr]
               - found["break_even_growth", "predicted_8", lr])
        error = found["break_even_error", "8", lr]
        assert 0 < abs(gap) < 3.5 * error
        assert error < 0.02


def test_sampled_minibatches_have_no_example_twice(monkeypatch):
    monkeypatch.setattr(module, "MOST_SETS", 3)
    powers = 2.0 ** torch.arange(6, dtype=torch.float64)  # a sum of three tells which they are
    means, whole = minibatches(powers, 3, 200, seed=0)
    assert not whole
    assert {round(float(m) * 3).bit_count() for m in means} == {3}
    assert len(set(means.tolist())) == math.comb(6, 3)


def test_where_no_curvature_is_stable():
    """αc above 2/η: chance alone makes ψ² grow, however flat it is."""
    means, _ = minibatches(deviations(4, 0), 1, 2, 0)
    assert math.isnan(predicted(1.0, 3.0, share(4, 1)))
    assert math.isnan(crossing(means, 1.0, 3.0))
    assert growths(means, 1.0, 0.01, 3.0).mean() > 1
    assert crossing(means, 1.0, 0.5) == pytest.approx(1.5)


def test_seeds_and_sizes():
    options = {"examples": 8, "batch_size": [4, 9], "lr": [0.1]}
    sampled = {"examples": 60, "batch_size": [8], "draws": 10}
    assert probed(options) == probed(options)
    assert not any("9" in series for _, series, _ in probed(options)), "S is at most N"
    assert probed(sampled) != probed(sampled, seed=1)
