"""Bases of random subspaces: orthonormal, each the other way's adjoint, functions of the seed."""

import pytest
import torch

from tests.trainables.landscapes import random_points
from trainables.landscape.basis import HartleyBasis, draw, hartley

LIKE = torch.zeros(1, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["dense", "hartley"])
@pytest.mark.parametrize(("dim", "count"), [(40, 7), (37, 37), (64, 1)])
def test_columns_are_orthonormal(kind, dim, count):
    basis = draw(kind, dim, count, 3, 0, LIKE)
    columns = basis.spread(torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(
        columns @ columns.T, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-13)
    g = random_points(4, dim)
    torch.testing.assert_close(basis.gather(g), g @ columns.T, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["dense", "hartley"])
def test_equal_arguments_give_equal_bases_and_other_seeds_and_numbers_others(kind):
    z = random_points(2, 5)
    made = [draw(kind, 40, 5, s, n, LIKE).spread(z) for s, n in ((1, 0), (1, 0), (2, 0), (1, 1))]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[3])


def test_large_products_are_not_drawn_densely():
    assert isinstance(draw("auto", 1 << 18, 65, 0, 0, LIKE), HartleyBasis)


@pytest.mark.parametrize("kind", ["dense", "hartley"])
def test_a_fixed_vector_has_the_share_d_of_P_in_a_random_subspace(kind):
    """E‖Mᵀv‖² = d/P ‖v‖²; here a coordinate vector and a constant one, over 400 draws."""
    dim, count, draws = 50, 10, 400
    vectors = torch.stack([torch.eye(dim)[3], torch.ones(dim) / dim**0.5]).double()
    shares = torch.stack([draw(kind, dim, count, 7, n, LIKE).gather(vectors).square().sum(1)
                          for n in range(draws)])
    z = (shares.mean(0) - count / dim) / (shares.std(0) / draws**0.5)
    assert z.abs().max() < 3


def test_hartley_is_its_own_inverse():
    x = random_points(3, 45)
    torch.testing.assert_close(hartley(hartley(x)), x, rtol=1e-12, atol=1e-13)
