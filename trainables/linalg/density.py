"""Spectral densities of R symmetric matrices by stochastic Lanczos quadrature."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.linalg.krylov import Product, Space

REACH = 5.0  # kernel widths by which the grid goes beyond the nodes: all but 6e-7 of the mass
PER_WIDTH = 2  # grid points in a kernel width: the trapezoid rule is exact to rounding


@dataclass(frozen=True)
class Quadrature:
    """The Gauss quadratures of R runs from s start vectors each; NaN for a run that failed."""

    nodes: Tensor  # (R, s, m) float64, ascending
    weights: Tensor  # (R, s, m) float64, of sum 1


def lanczos_quadrature(product: Product, starts: Iterable[Tensor], steps: int) -> Quadrature:
    """m = min(``steps``, P) Lanczos steps from each start (R, P), random signs.

    With θ_i, τ_i the eigenvalues and squared first components of the eigenvectors of the
    tridiagonal matrix, Σ τ_i f(θ_i) = zᵀf(H)z/|z|² for polynomials f of degree up to 2 m − 1
    (Golub & Meurant 1994); its mean over z is tr f(H)/P. Fully reorthogonalised: without, outliers
    come several times. Where the Krylov space is exhausted, what follows has weight 0. Cost:
    m products a start; memory R m P numbers.
    """
    found = [_of_one(product, start, steps) for start in starts]
    nodes, weights = (torch.stack(part, dim=1) for part in zip(*found, strict=True))
    return Quadrature(nodes, weights)


def _of_one(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    space = Space(start[:, None])
    onward = torch.ones(len(start), 1, dtype=torch.float64)
    while space.size < min(steps, space.dim):
        space.expand(product, onward)
    pairs = [torch.linalg.eigh(t) for t in space.projected]  # a batch is not aligned
    failed = ~space.alive[:, None]
    nodes = torch.stack([p[0] for p in pairs]).masked_fill(failed, torch.nan)
    weights = torch.stack([p[1][0].square() for p in pairs]).masked_fill(failed, torch.nan)
    return nodes, weights


def smoothed(found: Quadrature, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """The density: grid (R, n), values (R, n) and their standard errors over the starts (R, n).

    φ(x) = Σ τ_i N(x; θ_i, σ²), a mean over the starts; σ = ``width`` times the distance of the
    outermost nodes (of their size where they agree, 1 where they are 0). Two grid points a σ, from
    5 σ below to 5 σ above; the trapezoid rule gives 1 to 1e-6. Unbiased for the spectrum
    smoothed by the same kernel, up to what m nodes cannot resolve: kernels narrower than the
    distance of nodes show the nodes. The error is NaN from one start.
    """
    low, high = found.nodes.amin((1, 2)), found.nodes.amax((1, 2))
    span = torch.where(high > low, high - low, high.abs())
    sigma = width * torch.where(span == 0, 1.0, span)
    count = math.ceil(PER_WIDTH * (1 / width + 2 * REACH)) + 1
    first, last = low - REACH * sigma, high + REACH * sigma
    grid = first[:, None] + (last - first)[:, None] * torch.linspace(
        0, 1, count, dtype=torch.float64)
    each = torch.stack([
        _mixture(grid, found.nodes[:, s], found.weights[:, s], sigma)
        for s in range(found.nodes.shape[1])], dim=1)
    error = each.std(dim=1) if each.shape[1] > 1 else torch.full_like(each[:, 0], torch.nan)
    return grid, each.mean(dim=1), error / each.shape[1] ** 0.5


def _mixture(grid: Tensor, nodes: Tensor, weights: Tensor, sigma: Tensor) -> Tensor:
    away = (grid[:, :, None] - nodes[:, None]) / sigma[:, None, None]
    heights = (-away.square() / 2).exp() / (sigma * math.sqrt(2 * math.pi))[:, None, None]
    return (heights * weights[:, None]).sum(2)
