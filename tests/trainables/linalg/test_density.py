"""Spectral densities of dense matrices, in float64."""

import math

import pytest
import torch

from tests.trainables.linalg.test_lanczos import line, of, rotated
from trainables.linalg.density import Quadrature, lanczos_quadrature, smoothed

BULK = torch.linspace(-1, 3, 36)


def signs(*shape, seed=1):
    source = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(0, 2, shape, generator=source).double() - 1


def kernel(grid, centres, weights, sigma):
    """Σ w N(x; c, σ²), written out."""
    heights = torch.exp(-((grid[:, None] - centres) ** 2) / (2 * sigma**2))
    return (heights * weights).sum(1) / (sigma * math.sqrt(2 * math.pi))


# (why, spectrum)
SPECTRA = [("outliers and a bulk", line([20, 12], BULK)), ("a bulk alone", BULK.double()),
           ("half of it zero", line([9, 5], torch.zeros(20), torch.linspace(0, 1, 18)))]


@pytest.mark.parametrize(("why", "spectrum"), SPECTRA, ids=[s[0] for s in SPECTRA])
def test_moments_are_those_of_the_start(why, spectrum):
    """m steps integrate polynomials of degree 2 m − 1 exactly: zᵀHʲz/P."""
    h, z = rotated(spectrum)[0], signs(3, 5, len(spectrum))
    found = lanczos_quadrature(of(h.expand(3, -1, -1)), z.unbind(1), 6)
    assert found.nodes.shape == found.weights.shape == (3, 5, 6)
    power, scale = z, spectrum.abs().max()
    for j in range(12):
        exact = (z * power).sum(2) / len(spectrum)
        sums = (found.weights * (found.nodes / scale) ** j).sum(2)
        torch.testing.assert_close(sums, exact, rtol=0, atol=1e-10)
        power = power @ h / scale


@pytest.mark.parametrize(("why", "spectrum"), SPECTRA, ids=[s[0] for s in SPECTRA])
def test_the_density_is_the_dense_spectrum_through_the_same_kernel(why, spectrum):
    h, starts = rotated(spectrum)[0], 400
    found = lanczos_quadrature(
        of(h[None]), signs(starts, 1, len(spectrum)).unbind(0), len(spectrum))
    grid, density, error = (t[0] for t in smoothed(found, 0.05))
    sigma = 0.05 * (spectrum.max() - spectrum.min())
    exact = kernel(grid, spectrum, torch.full_like(spectrum, 1 / len(spectrum)), sigma)
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=2e-6)
    known = error > 1e-6 * error.max()
    score = ((density - exact) / error)[known]
    assert score.abs().max() < 4.5
    assert score.square().mean() < 4
    assert (density - exact).abs().max() < 0.1 * exact.max()


def test_few_steps_see_what_is_wider_than_their_nodes():
    """25 nodes for 200 eigenvalues, against the same starts' parts on all eigenvectors."""
    h, z = rotated(torch.linspace(0, 1, 200))[0], signs(4, 1, 200)
    found = lanczos_quadrature(of(h[None]), z.unbind(0), 25)
    spectrum, vectors = torch.linalg.eigh(h)
    weights = (z[:, 0] @ vectors).square().mean(0) / 200
    span = found.nodes.max() - found.nodes.min()
    for width, error in ((0.1, 1e-4), (0.05, 0.02)):
        grid, density, _ = (t[0] for t in smoothed(found, width))
        exact = kernel(grid, spectrum, weights, width * span)
        assert (density - exact).abs().max() < error
    narrow = smoothed(found, 0.002)[1]
    assert narrow.max() > 5 * density.max()  # there the nodes themselves show


def test_a_start_in_an_invariant_subspace_ends_there():
    """What comes after the Krylov space is exhausted has weight 0: diag(1, 1, …, 4, 4, …)."""
    h = torch.diag(torch.tensor([1.0] * 5 + [4.0] * 15).double())
    found = lanczos_quadrature(of(h[None]), [signs(1, 20)], 6)
    assert found.weights.sum().item() == pytest.approx(1, abs=1e-12)
    for value, share in ((1, 0.25), (4, 0.75)):
        near = (found.nodes - value).abs() < 1e-9
        assert found.weights[near].sum().item() == pytest.approx(share, abs=1e-12)


# (why, matrix, where all of it is)
POINTS = [("zero", torch.zeros(8, 8).double(), 0.0), ("one value", 3 * torch.eye(8).double(), 3.0)]


@pytest.mark.parametrize(("why", "h", "value"), POINTS, ids=[p[0] for p in POINTS])
def test_a_spectrum_of_one_point_is_the_kernel_itself(why, h, value):
    found = lanczos_quadrature(of(h[None]), [signs(1, 8)] * 2, 1)
    grid, density, error = (t[0] for t in smoothed(found, 0.1))
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=2e-6)
    assert grid[density.argmax()].item() == pytest.approx(value, abs=1e-12)
    assert error.max() == 0


def test_one_start_has_no_error_and_a_failed_run_no_density():
    h = rotated(line([9, 5], BULK))[0]
    both = torch.stack([h, torch.full_like(h, torch.nan)])
    z = [signs(2, len(h))]
    found = lanczos_quadrature(of(both), z, 10)
    alone = lanczos_quadrature(of(both[:1]), [z[0][:1]], 10)
    assert torch.equal(found.nodes[:1], alone.nodes)
    assert torch.equal(found.weights[:1], alone.weights)
    grid, density, error = smoothed(found, 0.01)
    assert density[0].isfinite().all()
    assert error.isnan().all()
    assert grid[1].isnan().all()
    assert density[1].isnan().all()


def test_weights_of_the_mixture_are_a_mean_over_the_starts():
    nodes = torch.tensor([[[0.0, 1.0], [0.0, 2.0]]]).double()
    weights = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]).double()
    grid, density, error = (t[0] for t in smoothed(Quadrature(nodes, weights), 0.05))
    one, two = (kernel(grid, nodes[0, s], weights[0, s], 0.1) for s in range(2))
    torch.testing.assert_close(density, (one + two) / 2)
    torch.testing.assert_close(error, (one - two).abs() / 2)
