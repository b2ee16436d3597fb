"""The gradient noise scale: how many examples a batch needs before its noise stops mattering.

B_simple = Tr Σ / |G|², B_noise = Tr(HΣ) / GᵀHG (McCandlish et al. 2018, eq. 2.7 to 2.9). G, H and
Σ = (1/N) Σ_i (g_i − G)(g_i − G)ᵀ are those of a *population* of N examples, of which the n measured
ones are a random sample: the training set, or with N = ∞ the distribution itself. Numerator and
denominator are unbiased; their ratio is not (to average scales, average both parts by themselves).
For N = ∞ that holds only for parameters that owe nothing to the measured examples: after training
on them, the training set is the population.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.quantities.covariance import eigen


@dataclass(frozen=True)
class Design:
    """Which minibatches there are, and which of them carry the Hessian.

    ``count`` minibatches of ``size`` examples, disjoint parts of a random order of the
    ``examples`` measured, or drawn from them with replacement. The Hessian is that of the first
    ``held`` minibatches, H_A. All formulas are expectations over the random order.
    """

    count: int
    size: int
    examples: int
    population: float  # N ≥ examples, may be inf
    held: int
    replacement: bool = False

    @property
    def scatter(self) -> float:
        """s: s S C estimates N/(N − 1) Σ, with C the sample covariance of the minibatches."""
        n = self.examples
        return n / (n - 1) if self.replacement else 1.0

    @property
    def overlap(self) -> float:
        """ω, the weight of the covariance about all minibatches beside that of the rest's own.

        In Tr(HΣ) = (1/N²) Σ_i Σ_j (g_i − G)ᵀ H_j (g_i − G) an example meets itself in 1 of N
        terms. The minibatches outside A never meet an example of A, all L S of them do in 1 of
        L S terms: ω = L S/N makes the sum right. With replacement A and the rest are independent
        draws from the set: ω = 0. Without two minibatches outside A: 1, biased by O(1/n).
        """
        if self.count - self.held < 2:
            return 1.0
        return 0.0 if self.replacement else self.count * self.size / self.population

    @property
    def share(self) -> float:
        """β: the gradient for GᵀHG is β g_A + (1 − β) g_rest, an example of A weighing 1/N."""
        held = self.held * self.size
        return held / self.population

    @property
    def excess(self) -> float:
        """δ: what that gradient's own noise adds to GᵀHG is δ N/(N − 1) Tr(HΣ)."""
        own = 1 / self.examples
        if not self.replacement:
            held = self.held * self.size
            own = self.share ** 2 / held + (1 - self.share) ** 2 / (self.examples - held)
        return own - 1 / self.population

    def weights(self) -> Tensor:
        """(L, L) W ⪰ 0, float64, with W 1 = 0: Σ_ab W_ab m_a m_bᵀ is unbiased for N/(N − 1) Σ."""
        outside = torch.ones(self.count, dtype=torch.float64)
        outside[:self.held] = 0
        everything = torch.ones_like(outside)
        mixed = torch.zeros(self.count, self.count, dtype=torch.float64)
        for members, part in ((everything, self.overlap), (outside, 1 - self.overlap)):
            if part:
                size = members.sum()
                centring = members.diag() - members.outer(members) / size
                mixed += part * centring / (size - 1)
        return self.scatter * self.size * mixed

    def gradient(self, gradients: Tensor, mean: Tensor) -> Tensor:
        """(R, P) β g_A + (1 − β) g_rest, of minibatches (R, L, P) and the set's (R, P) mean."""
        if self.replacement:
            return mean
        n, held = self.examples, self.held * self.size
        inside = gradients[:, :self.held].mean(dim=1)
        rest = (n * mean - held * inside) / (n - held)
        return self.share * inside + (1 - self.share) * rest


def simple_parts(trace: Tensor, square: Tensor, design: Design) -> tuple[Tensor, Tensor]:
    """(R,) unbiased Tr Σ and |G|², from Tr C of the minibatches (1/(L − 1)) and |ḡ|² of the set.

    With s the scatter: Tr Σ = (1 − 1/N) s S Tr C and |G|² = |ḡ|² − (1/n − 1/N) s S Tr C. That is
    the two-batch estimator of App. A.1 with the set as the big batch and each minibatch as the
    small one; |G|² may come out negative, and is exact where n = N.
    """
    total = design.scatter * design.size * trace
    excess = 1 / design.examples - 1 / design.population
    return (1 - 1 / design.population) * total, square - excess * total


def hessian_parts(product: Callable[[Tensor], Tensor], gradients: Tensor, mean: Tensor,
                  centred: Tensor, design: Design, exact: int, signs: Tensor,
                  ) -> tuple[Tensor, Tensor]:
    """(R,) unbiased Tr(HΣ) and GᵀHG, float64; 1 + min(exact + h, L − 1) products with H_A.

    ``centred`` (R, L, L) are the centred minibatch gradients' inner products. With Σ̂ = Mᵀ W M,
    Tr(H_A Σ̂) is the sum of vᵀ H_A v over the ``exact`` leading eigenvectors (scaled by their
    eigenvalues' roots) and, for the other eigenvectors, the mean over ``signs`` (R, h, L) of the
    same for their random combinations (Hutchinson 1989). GᵀHG is xᵀ H_A x less the part that is
    x's own noise. Unbiased over random orders where n = N or N = ∞, else to O(1/(nN)); with
    replacement, where n = N, else to O(1/n). Either may be negative.
    """
    x = design.gradient(gradients, mean)
    trace = _trace(product, gradients, centred, design.weights().to(centred.device), exact, signs)
    form = (x.double() * product(x).double()).sum(dim=1)
    return (1 - 1 / design.population) * trace, form - design.excess * trace


def _trace(product: Callable[[Tensor], Tensor], gradients: Tensor, centred: Tensor,
           weights: Tensor, exact: int, signs: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(weights)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    directions = root @ eigen(root @ centred @ root)[1]  # (R, L, L), a column an eigenvector
    rank = len(weights) - 1
    if exact + signs.shape[1] >= rank:
        exact, signs = rank, signs[:, :0]
    leading, rest = directions[:, :, :exact], directions[:, :, exact:]
    random = rest @ signs[:, :, exact:].mT.to(rest)
    columns = torch.cat([leading, random / math.sqrt(max(1, signs.shape[1]))], dim=2)
    total = torch.zeros(len(gradients), dtype=torch.float64, device=gradients.device)
    for column in columns.to(gradients.dtype).unbind(dim=2):
        v = torch.einsum("rl,rlp->rp", column, gradients)
        total += (v.double() * product(v).double()).sum(dim=1)
    return total


def ratio(numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) their ratio where both are positive, else NaN; and where it is not (NaN apart)."""
    undefined = (numerator <= 0) | (denominator <= 0)
    return torch.where(undefined, torch.nan, numerator / denominator), undefined
