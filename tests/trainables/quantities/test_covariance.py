"""K from minibatch gradients: its exact expectation over all ways to draw them; closed forms."""

import itertools
import math

import pytest
import torch

from trainables.quantities.covariance import (
    conditioning,
    covariance_eigenvalues,
    covariance_factor,
    eigen,
    inner_products,
    moment_eigenvalues,
)

# (why, n, L, S, with replacement)
DRAWS = [
    ("disjoint parts of the whole set", 6, 3, 2, False),
    ("n is not divisible by S", 7, 3, 2, False),
    ("most is left over", 6, 2, 1, False),
    ("one example a minibatch", 5, 5, 1, False),
    ("with replacement", 4, 3, 2, True),
    ("with replacement, more draws than examples", 3, 5, 1, True),
]


def examples(n, p=4, seed=0):
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(g):
    centred = g - g.mean(0)
    return centred.T @ centred / len(g)


@pytest.mark.parametrize(("why", "n", "count", "size", "replacement"), DRAWS,
                         ids=[d[0] for d in DRAWS])
def test_the_mean_over_all_draws_is_the_covariance(why, n, count, size, replacement):
    """Not a sample of draws: every one of them, so the expectation is exact."""
    g = examples(n)
    orders = (itertools.product(range(n), repeat=count * size) if replacement
              else itertools.permutations(range(n), count * size))
    batches = g[torch.tensor(list(orders)).view(-1, count, size)].mean(2)
    centred = batches - batches.mean(1, keepdim=True)
    factor = covariance_factor(count, size, n, replacement=replacement)
    mean = factor * torch.einsum("rla,rlb->rab", centred, centred).mean(0)
    torch.testing.assert_close(mean, dense(g), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dim", [3, 9])
def test_one_example_a_minibatch_gives_the_spectrum_itself(dim):
    g = torch.stack([examples(6, dim, seed=s) for s in range(2)])
    products = inner_products(g, g.mean(1))
    factor = covariance_factor(6, 1, 6, replacement=False)
    found = covariance_eigenvalues(products, factor), moment_eigenvalues(products, factor)
    for r in range(2):
        for values, oracle in zip(found, (dense(g[r]), g[r].T @ g[r] / 6), strict=True):
            expected = torch.zeros(6, dtype=torch.float64)
            top = torch.linalg.eigvalsh(oracle).flip(0)[:6]
            expected[:len(top)] = top
            torch.testing.assert_close(values[r], expected[:values.shape[1]],
                                       rtol=1e-10, atol=1e-13)
    nonzero = torch.linalg.eigvalsh(dense(g[0])).flip(0)[:min(5, dim)]
    assert conditioning(found[0], torch.float64)[0].item() == pytest.approx(
        (nonzero[-1] / nonzero[0]).item(), rel=1e-9)


def test_left_over_examples_are_in_the_second_moment_by_the_full_gradient():
    g = examples(7, 8)
    batches, mean = g[:6].view(1, 3, 2, 8).mean(2), g.mean(0)[None]
    products = inner_products(batches, mean)
    factor = covariance_factor(3, 2, 7, replacement=False)
    centred = batches[0] - batches[0].mean(0)
    oracle = factor * centred.T @ centred + mean.T @ mean
    torch.testing.assert_close(moment_eigenvalues(products, factor)[0],
                               torch.linalg.eigvalsh(oracle).flip(0)[:3], rtol=1e-10, atol=1e-13)


# (why, eigenvalues, dtype, smallest non-zero over largest)
RATIOS = [
    ("plain", [4.0, 2.0, 1.0], torch.float64, 0.25),
    ("an exact zero does not count", [4.0, 1.0, 0.0], torch.float64, 0.25),
    ("nor does float64's rounding", [4.0, 1.0, 1e-15], torch.float64, 0.25),
    ("nor does that of float32 gradients", [4.0, 1.0, 1e-12], torch.float32, 0.25),
    ("small, yet there", [4.0, 1.0, 4e-9], torch.float64, 1e-9),
    ("one eigenvalue", [3.0], torch.float64, 1.0),
    ("no noise at all", [0.0, 0.0], torch.float64, math.nan),
    ("no eigenvalue", [], torch.float64, math.nan),
]


@pytest.mark.parametrize(("why", "values", "dtype", "expected"), RATIOS, ids=[r[0] for r in RATIOS])
def test_conditioning(why, values, dtype, expected):
    found = conditioning(torch.tensor([values], dtype=torch.float64), dtype).item()
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_run_of_nan_leaves_its_neighbours_alone():
    g = torch.stack([examples(5), examples(5) * torch.nan, examples(5, seed=1)])
    values, vectors = eigen(inner_products(g, g.mean(1)).centred)
    alone = eigen(inner_products(g[2:], g[2:].mean(1)).centred)
    for found, own in zip((values, vectors), alone, strict=True):
        assert found[1].isnan().all()
        assert torch.equal(found[2], own[0])


def test_one_minibatch_has_no_covariance():
    assert math.isnan(covariance_factor(1, 4, 8, replacement=False))
