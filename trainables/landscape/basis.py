"""Random d-dimensional subspaces of R^P: orthonormal columns M, known through M z and Mᵀ g."""

import math

import torch
from torch import Tensor

from trainables.streams import generator

DENSE_NUMBERS = 1 << 24  # P·d above which no dense matrix is drawn


class DenseBasis:
    """M (P, d) uniform (Haar): the Q of a Gaussian matrix's QR, signs such that R's diagonal is
    positive. P d² to draw, P d numbers. The first columns are (to rounding) the M of a smaller d.
    """

    def __init__(self, dim: int, count: int, source: torch.Generator, like: Tensor):
        drawn = [torch.randn(dim, generator=source, dtype=torch.float64) for _ in range(count)]
        q, r = torch.linalg.qr(torch.stack(drawn, dim=1))
        self.matrix = (q * r.diagonal().sign()).to(like)

    def spread(self, z: Tensor) -> Tensor:
        """(K, d) coordinates to (K, P) vectors M z."""
        return z @ self.matrix.T

    def gather(self, g: Tensor) -> Tensor:
        """(K, P) vectors to (K, d) coordinates Mᵀ g."""
        return g @ self.matrix


class HartleyBasis:
    """M = D H E, for where a dense M would not fit: d random columns E of the discrete Hartley
    transform of length P (symmetric, orthogonal: (cos + sin)(2π i j / P) / √P), rows times random
    signs D. Orthonormal to rounding, no entry above √(2/P); not Haar, but E M Mᵀ = d/P I over signs
    and columns, as for Haar. P log P a product, P + d numbers.
    """

    def __init__(self, dim: int, count: int, source: torch.Generator, like: Tensor):
        signs = 2 * torch.randint(0, 2, (dim,), generator=source) - 1
        self.signs = signs.to(like)
        self.columns = torch.randperm(dim, generator=source)[:count].to(like.device)

    def spread(self, z: Tensor) -> Tensor:
        """(K, d) coordinates to (K, P) vectors M z."""
        full = z.new_zeros(len(z), len(self.signs))
        full[:, self.columns] = z
        return self.signs * hartley(full)

    def gather(self, g: Tensor) -> Tensor:
        """(K, P) vectors to (K, d) coordinates Mᵀ g."""
        return hartley(self.signs * g)[:, self.columns]


def hartley(x: Tensor) -> Tensor:
    """The orthogonal discrete Hartley transform of the last dimension; its own inverse."""
    transformed = torch.fft.fft(x)
    return (transformed.real - transformed.imag) / math.sqrt(x.shape[-1])


def draw(kind: str, dim: int, count: int, seed: int, number: int,
         like: Tensor) -> DenseBasis | HartleyBasis:
    """The ``number``-th basis of ``count`` ≤ ``dim`` columns of that seed; ``auto``: by size."""
    source = generator(seed, "subspace", number)
    if kind == "auto":
        kind = "dense" if dim * count <= DENSE_NUMBERS else "hartley"
    return {"dense": DenseBasis, "hartley": HartleyBasis}[kind](dim, count, source, like)
