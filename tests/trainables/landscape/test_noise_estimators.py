"""The two-batch estimators of Tr Σ and |G|²: unbiased, by either rule of drawing."""

from itertools import permutations, product

import pytest
import torch

from tests.trainables.runs import HERE
from trainables.landscape import Subject, run
from trainables.landscape.noise_estimators import AT_ONCE, estimates, expected, norms, problem

RULES = ("with_replacement", "without_replacement")


def probed(options, seed=0):
    found = run("noise_estimators", Subject((), (), None, seed, torch.device("cpu"), HERE), options)
    return {(q.removeprefix("noise_estimator_"), c.series, int(c.x[0])): float(c.value[0, 0])
            for q, c in found}


def test_means_are_the_exact_values_within_their_errors():
    """PAPERS H1: |z| < 3 for both estimators, all sizes and both rules of drawing."""
    found = probed({})
    z = [v for (q, _, _), v in found.items() if q == "z"]
    assert len(z) == 2 * 2 * 4
    assert max(map(abs, z)) < 3
    for rule in RULES:
        for small, big in product((1, 4), (16, 64)):
            scales = [found["scale", f"{rule}_{small}_{kind}", big] for kind in ("mean", "exact")]
            assert scales[0] == pytest.approx(scales[1], rel=0.05)
            trace = [found["trace", f"{rule}_{small}_{kind}", big] for kind in ("mean", "exact")]
            assert trace[0] == pytest.approx(trace[1], rel=0.03)


@pytest.mark.parametrize("rule", RULES)
def test_unbiased_over_every_batch_there_is(rule):
    """All draws of three of four examples: no chance is left, only the formulas."""
    gradients = problem(4, 3, seed=5)
    draws = (product(range(4), repeat=3) if rule == "with_replacement"
             else permutations(range(4), 3))
    rows = [gradients[list(d)] for d in draws]
    small, big = (torch.stack([r[:n].mean(0).square().sum() for r in rows]) for n in (1, 3))
    means = [float(e.mean()) for e in estimates(small, big, 1, 3)]
    assert means == pytest.approx(expected(gradients, rule), rel=1e-12)


def test_exact_values_against_the_covariance_matrix():
    gradients = problem(30, 4, seed=0)
    mean = gradients.mean(0)
    sigma = torch.cov(gradients.T, correction=0)
    assert expected(gradients, RULES[0]) == pytest.approx(
        (sigma.trace().item(), mean.square().sum().item()))
    assert expected(gradients, RULES[1]) == pytest.approx(
        (torch.cov(gradients.T).trace().item(),
         mean.square().sum().item() - sigma.trace().item() / 29))


@pytest.mark.parametrize("rule", RULES)
def test_small_batches_are_parts_of_the_large_one(rule):
    """The whole set without replacement has the gradient G; draws come in pieces, none is lost."""
    gradients, draws = problem(6, 2, seed=0), AT_ONCE + 10
    found = norms(gradients, [1, 6], draws, rule, seed=0)
    assert [len(v) for v in found.values()] == [draws, draws]
    whole = gradients.mean(0).square().sum()
    assert bool((found[6] - whole).abs().max() < 1e-12) is (rule == "without_replacement")
    ones = gradients.square().sum(1)
    assert (found[1].unsqueeze(1) - ones).abs().amin(1).max() < 1e-12


def test_seeds_and_sizes():
    options = {"examples": 20, "draws": 30, "small": [4, 16], "big": [16, 64]}
    assert probed(options) == probed(options)
    assert probed(options) != probed(options, seed=1)
    assert {(s.split("_")[-2], x) for q, s, x in probed(options) if q == "trace"} == {("4", 16)}
    assert probed({"examples": 5, "draws": 3, "big": [16]}) == {}, "no large batch fits"
