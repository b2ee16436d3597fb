"""The covariance K of the examples' gradients, known from a few minibatch gradients only."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InnerProducts:
    """Of R runs' L minibatch gradients m_a, m̄ their mean, and the full gradient ḡ; float64."""

    centred: Tensor  # (R, L, L) ⟨m_a − m̄, m_b − m̄⟩
    along: Tensor  # (R, L) ⟨m_a − m̄, ḡ⟩
    square: Tensor  # (R,) |ḡ|²


def inner_products(gradients: Tensor, mean: Tensor) -> InnerProducts:
    """From gradients (R, L, P) and the full one (R, P); one run at a time, so L P float64 held."""
    found = []
    for batches, full in zip(gradients, mean.double(), strict=True):
        wide = batches.double()
        wide = wide - wide.mean(dim=0)
        found.append((wide @ wide.T, wide @ full, full @ full))
    return InnerProducts(*(torch.stack(part) for part in zip(*found, strict=True)))


def covariance_factor(count: int, size: int, examples: int, *, replacement: bool) -> float:
    """f such that f Σ_a (m_a − m̄)(m_a − m̄)ᵀ is unbiased for K = (1/n) Σ_i (g_i − ḡ)(g_i − ḡ)ᵀ.

    L = ``count`` minibatches of S = ``size`` of the n = ``examples``. Drawn with replacement the
    m_a are independent, each with covariance K/S: f = S/(L − 1). Disjoint parts of one random
    order have Cov(m_a) = K (n − S)/(S (n − 1)) and, for a ≠ b, Cov(m_a, m_b) = −K/(n − 1); about
    their own mean only the difference of the two counts, K n/(S (n − 1)): f = S (1 − 1/n)/(L − 1),
    whatever L S leaves over. With S = 1, L = n the sum is K itself. NaN for L = 1.
    """
    if count < 2:
        return float("nan")
    return size / (count - 1) * (1.0 if replacement else 1 - 1 / examples)


def covariance_eigenvalues(products: InnerProducts, factor: float) -> Tensor:
    """(R, L − 1) descending eigenvalues of K̂ = factor Σ_a (m_a − m̄)(m_a − m̄)ᵀ.

    By the L × L Gram matrix, which has the same non-zero ones: O(L³), no P × P matrix (Jastrzebski
    et al. 2020). Their sum is unbiased for Tr K. The single values are not: with L − 1 below the
    rank of K the largest is biased up and the last says nothing of K's own smallest. They are
    statistics of (L, S): to be compared at equal L and S only.
    """
    return _eigenvalues(factor * products.centred)[:, :-1]


def moment_eigenvalues(products: InnerProducts, factor: float) -> Tensor:
    """(R, L) descending eigenvalues of K̂ + ḡḡᵀ, which estimates (1/n) Σ_i g_i g_iᵀ.

    By the Gram matrix of the L scaled centred gradients and ḡ, of rank L. Sum unbiased; single
    values as for K.
    """
    along = factor ** 0.5 * products.along
    upper = torch.cat([factor * products.centred, along[:, :, None]], dim=2)
    lower = torch.cat([along, products.square[:, None]], dim=1)
    return _eigenvalues(torch.cat([upper, lower[:, None]], dim=1))[:, :-1]


def conditioning(values: Tensor, dtype: torch.dtype) -> Tensor:
    """(R,) smallest non-zero over largest of descending eigenvalues (R, k); NaN if all are 0.

    Non-zero: above the rounding of a Gram matrix of gradients of that dtype, relative to the
    largest: k ((16 eps)² + 4 eps of float64).
    """
    rounding = (16 * torch.finfo(dtype).eps) ** 2 + 4 * torch.finfo(values.dtype).eps
    if not values.shape[1]:
        return values.new_full((len(values),), torch.nan)
    largest = values[:, 0]
    counts = values > values.shape[1] * rounding * largest[:, None]
    smallest = values.masked_fill(~counts, torch.inf).amin(dim=1)
    return torch.where(largest > 0, smallest / largest, torch.nan)


def eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Descending (R, L) eigenvalues and (R, L, L) eigenvectors as columns, each matrix by itself.

    NaN where a matrix is not finite.
    """
    good = matrices.isfinite().all(dim=2).all(dim=1)
    pairs = [torch.linalg.eigh(m) for m in matrices.masked_fill(~good[:, None, None], 0)]
    values = torch.stack([p[0] for p in pairs]).flip(1)
    vectors = torch.stack([p[1] for p in pairs]).flip(2)
    return (values.masked_fill(~good[:, None], torch.nan),
            vectors.masked_fill(~good[:, None, None], torch.nan))


def _eigenvalues(matrices: Tensor) -> Tensor:
    """Of positive semi-definite ones: what rounding made negative is 0."""
    return eigen(matrices)[0].clamp_min(0)
