"""Ritz pairs of a Krylov basis, and what the basis may have missed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.linalg.krylov import Space, dots

HALVINGS = 8  # geometric, from 1e-12: a bound is found to 11 %
RUNG, RUNGS = 3.0, 8  # the multiples at which a weight is looked at, from the spectrum's width down
GAP_FLOOR = 0.05  # of the largest value: gaps below are too small to divide by


@dataclass(frozen=True)
class Ritz:
    """Ritz pairs of the runs ``runs`` (A,) in m dimensions, values descending."""

    runs: Tensor
    values: Tensor  # (A, m)
    weights: Tensor  # (A, m, m), one column a pair, in terms of the basis
    residuals: Tensor  # (A, width, m), one column a pair, in terms of the front
    start: Tensor  # (A, n, m), one column a pair, in terms of the n start vectors
    rounding: Tensor  # (A, 1)

    @classmethod
    def of(cls, space: Space, runs: Tensor, starts: int = 0) -> "Ritz":
        """Of the runs ``runs`` (A,), whose basis begins with so many random start vectors."""
        pairs = [torch.linalg.eigh(t) for t in space.projected[runs]]  # a batch is not aligned
        values = torch.stack([p[0] for p in pairs]).flip(1)
        weights = torch.stack([p[1] for p in pairs]).flip(2)
        return cls(runs, values, weights, dots(space.coupling[runs], weights.mT),
                   weights[:, :starts], space.rounding[runs, None])

    def select(self, chosen: Tensor) -> "Ritz":
        """The same for a part of the runs."""
        return Ritz(*(t[chosen] for t in vars(self).values()))

    def mirrored(self) -> "Ritz":
        """The Ritz pairs of -H."""
        return Ritz(self.runs, -self.values.flip(1), self.weights.flip(2),
                     self.residuals.flip(2), self.start.flip(2), self.rounding)

    def estimates(self, k: int) -> Tensor:
        """(A, k) estimated errors |r_i|² / (θ_i − θ_{k+1}) of the first k values (Kato-Temple).

        Right to first order where no eigenvalue between was missed. Infinite where there are not
        k + 1 values yet, unless the space is whole.
        """
        norms = self.residuals.square().sum(1)
        if norms.shape[1] <= k:
            return torch.where(norms > 0, torch.inf, norms)
        floor = GAP_FLOOR * self.values[:, :1].abs()
        gap = torch.maximum(self.values[:, :k] - self.values[:, k : k + 1], floor)
        return (norms[:, :k] / gap).nan_to_num(0, torch.inf)

    def hiding(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """The start's weight on an unmet eigenvector of μ_i ≥ θ_i + ``above`` (A, j), at most.

        Also (A, j, width), its direction in the front. Let q be its part in the front, F the
        residuals and D = diag(1 / (μ - θ)) without the first i - 1. Then its part in the basis
        is D Fᵀ q and in the start Z D Fᵀ q: the weight is the maximum over q of
        |Z D Fᵀ q|² / (|q|² + |D Fᵀ q|²), here with the Frobenius norm, so an upper bound, and over
        a few μ_i up to the width of the spectrum: it does not always fall as μ grows.
        """
        count, width = above.shape[1], self.values[:, :1] - self.values[:, -1:]
        ladder = torch.stack([width.expand_as(above) / RUNG**i for i in range(RUNGS)], dim=1)
        steps = torch.maximum(above[:, None], torch.cat([above[:, None], ladder], dim=1))
        weights, ways = self._hiding_at(steps.flatten(1), torch.arange(count).repeat(RUNGS + 1))
        weights = weights.view(len(weights), -1, count)
        worst = weights.nan_to_num(torch.inf).argmax(1, keepdim=True)
        ways = ways.view(*weights.shape, -1)
        most = worst[..., None].expand(-1, -1, -1, ways.shape[-1])
        return weights.gather(1, worst)[:, 0], ways.gather(1, most)[:, 0]

    def _hiding_at(self, above: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """``hiding`` at exactly μ = θ_index + above, ``index`` (j,)."""
        gap = self.values[:, index, None] - self.values[:, None] + above[:, :, None]
        part = self.residuals[:, None] / gap[:, :, None]
        part = part.nan_to_num(0, torch.inf, -torch.inf)  # no residual, no gap: nothing hides
        later = torch.arange(gap.shape[2]) >= index[:, None]
        part = part * later[:, None]
        whole = dots(part, part) + torch.eye(part.shape[2], dtype=part.dtype)
        root = torch.linalg.cholesky_ex(whole)[0]
        seen = torch.linalg.solve_triangular(root, dots(part, self.start[:, None]), upper=False)
        weights = seen.square().sum(2)
        most = weights.argmax(2)[:, :, None, None].expand_as(seen[..., :1])
        way = torch.linalg.solve_triangular(root.mT, seen.gather(3, most), upper=True)
        return weights.sum(2), way[..., 0]

    def bounds(self, guess: Tensor, weight: float) -> Tensor:
        """(A, j) bounds of the first j values, sought from ``guess`` (A, j) on.

        ``weight`` is what the start vectors may miss.
        """
        def holds(above: Tensor) -> Tensor:  # NaN does not
            return self.hiding(above)[0] <= weight

        high = guess.clamp_min(torch.finfo(guess.dtype).tiny)
        while not (enough := holds(high)).all() and high.isfinite().all():
            high = torch.where(enough, high, 4 * high)
        low = 1e-12 * high
        for _ in range(HALVINGS):
            middle = (low * high).sqrt()
            enough = holds(middle)
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high + self.rounding
