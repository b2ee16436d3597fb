"""The parts of both noise scales: exact expectations over all draws, not samples of them."""

import itertools
import math

import pytest
import torch

from trainables.quantities.covariance import inner_products
from trainables.quantities.noisescale import Design, hessian_parts, ratio, simple_parts

P = 3


def population(size, seed=0):
    """Gradients (N, P) and Hessians (N, P, P) of single examples, correlated with each other."""
    g = torch.randn(size, P, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = g + 0.5
    root = g[:, :, None] * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + torch.eye(
        P, dtype=torch.float64)
    return g, root + root.mT + g.square().sum(1)[:, None, None]


def truth(g, hessians):
    """Tr Σ, |G|², Tr(HΣ), GᵀHG of the population."""
    mean, centred = g.mean(0), g - g.mean(0)
    sigma, hessian = centred.T @ centred / len(g), hessians.mean(0)
    return torch.stack([sigma.trace(), mean @ mean, (hessian @ sigma).trace(),
                        mean @ hessian @ mean])


def estimates(g, hessians, index, drawn, design, exact=None, signs=None):
    """(R, 4) the four parts of R measured sets ``index`` (R, n), minibatches ``drawn`` (R, L S)."""
    batches = g[drawn].view(len(drawn), design.count, design.size, P).mean(2)
    mean = g[index].mean(1)
    h = hessians[drawn[:, :design.held * design.size]].mean(1)
    products = inner_products(batches, mean)
    trace = products.centred.diagonal(dim1=1, dim2=2).sum(1) / (design.count - 1)
    if signs is None:
        signs = torch.zeros(len(drawn), 0, design.count)
    exact = design.count - 1 if exact is None else exact
    simple = simple_parts(trace, products.square, design)
    hard = hessian_parts(lambda v: torch.einsum("rab,rb->ra", h, v), batches, mean,
                         products.centred, design, exact, signs)
    return torch.stack([*simple, *hard], dim=1)


# (why, n, N, L, S, held): N = n, or more
FINITE = [
    ("the set is the population", 6, 6, 3, 2, 1),
    ("with a rest that no minibatch has", 7, 7, 3, 2, 1),
    ("one example a minibatch", 5, 5, 5, 1, 2),
    ("two minibatches: none but A and its complement", 4, 4, 2, 2, 1),
    ("the set is a sample of the population", 6, 7, 3, 2, 1),
    ("a small sample", 4, 8, 4, 1, 1),
]


@pytest.mark.parametrize(("why", "n", "size", "count", "each", "held"), FINITE,
                         ids=[f[0] for f in FINITE])
def test_finite_population(why, n, size, count, each, held):
    """Over all ordered samples; only GᵀHG of a sample keeps a bias, of 1/(n N) at most."""
    g, hessians = population(size)
    index = torch.tensor(list(itertools.permutations(range(size), n)))
    design = Design(count, each, n, size, held)
    found = estimates(g, hessians, index, index[:, :count * each], design).mean(0)
    expected = truth(g, hessians)
    exact = 4 if n == size else 3
    torch.testing.assert_close(found[[0, 1, 2, 3][:exact]], expected[:exact],
                               rtol=1e-10, atol=1e-11)
    scale = (expected[2].abs() + expected[3].abs()) * 4 / (n * size)
    assert (found[3] - expected[3]).abs() < scale


# (why, n, L, S, held)
DISTRIBUTIONS = [
    ("one example a minibatch", 4, 4, 1, 1),
    ("one is left over", 5, 4, 1, 2),
    ("larger minibatches", 6, 3, 2, 1),
]


@pytest.mark.parametrize(("why", "n", "count", "each", "held"), DISTRIBUTIONS,
                         ids=[d[0] for d in DISTRIBUTIONS])
def test_distribution(why, n, count, each, held):
    """Over all independent draws from three points: exact, though H and g depend on each other."""
    g, hessians = population(3)
    index = torch.tensor(list(itertools.product(range(3), repeat=n)))
    design = Design(count, each, n, math.inf, held)
    found = estimates(g, hessians, index, index[:, :count * each], design).mean(0)
    torch.testing.assert_close(found, truth(g, hessians), rtol=1e-10, atol=1e-11)


def test_minibatches_with_replacement():
    """Over all draws of three minibatches of two from the set of three, the population."""
    g, hessians = population(3)
    drawn = torch.tensor(list(itertools.product(range(3), repeat=6)))
    index = torch.arange(3).expand(len(drawn), 3)
    found = estimates(g, hessians, index, drawn, Design(3, 2, 3, 3, 1, replacement=True)).mean(0)
    torch.testing.assert_close(found, truth(g, hessians), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("exact", [0, 1])
@pytest.mark.parametrize("probes", [1, 2])
def test_fewer_products_have_the_same_mean(exact, probes):
    """Over all signs: the trace on the remaining eigenvectors is unbiased whatever is exact."""
    g, hessians = population(6)
    design, index = Design(6, 1, 6, 6, 2), torch.randperm(6)[None]
    whole = estimates(g, hessians, index, index, design)
    signs = torch.tensor(list(itertools.product((-1, 1), repeat=6 * probes)))
    many = index.expand(len(signs), 6)
    found = estimates(g, hessians, many, many, design, exact, signs.view(-1, probes, 6))
    assert found[:, 2].std() > 1e-3
    torch.testing.assert_close(found.mean(0, keepdim=True), whole, rtol=1e-10, atol=1e-11)


def test_two_batch_form():
    """|𝒢|² = (n |ḡ|² − S |m|²)/(n − S), 𝒮 = (|m|² − |ḡ|²)/(1/S − 1/n), means of minibatches."""
    g, _ = population(12)
    batches, full = g.view(4, 3, P).mean(1), g.mean(0)
    small, big = batches.square().sum(1).mean(), full @ full
    expected = (small - big) / (1 / 3 - 1 / 12), (12 * big - 3 * small) / (12 - 3)
    trace = (batches - full).square().sum() / 3
    found = simple_parts(trace[None], big[None], Design(4, 3, 12, math.inf, 1))
    assert [f.item() for f in found] == pytest.approx([e.item() for e in expected], rel=1e-12)


def test_a_run_of_nan_leaves_its_neighbours_alone():
    g, hessians = population(6)
    index, design = torch.arange(6)[None], Design(3, 2, 6, 6, 1)
    alone = estimates(g, hessians, index, index, design)
    batches = g.view(1, 3, 2, P).mean(2).repeat(2, 1, 1)
    batches[0] = torch.nan
    products = inner_products(batches, batches.mean(1))
    found = hessian_parts(
        lambda v: v @ hessians[:2].mean(0).T, batches, batches.mean(1), products.centred, design, 2,
        torch.zeros(2, 0, 3))
    assert all(f[0].isnan() for f in found)
    assert [f[1].item() for f in found] == pytest.approx(alone[0, 2:].tolist(), rel=1e-12)


# (why, numerator, denominator, ratio)
RATIOS = [
    ("both positive", 6.0, 2.0, 3.0), ("no gradient", 6.0, 0.0, math.nan),
    ("a negative estimate", 6.0, -1.0, math.nan), ("a negative numerator", -1.0, 2.0, math.nan),
    ("two negative ones", -1.0, -2.0, math.nan),
]


@pytest.mark.parametrize(("why", "above", "below", "expected"), RATIOS, ids=[r[0] for r in RATIOS])
def test_ratio(why, above, below, expected):
    found, undefined = ratio(torch.tensor([above, math.nan]), torch.tensor([below, 1.0]))
    assert found[0].item() == pytest.approx(expected, nan_ok=True)
    assert undefined.tolist() == [math.isnan(expected), False]
    assert found[1].isnan()
