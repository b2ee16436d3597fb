"""Ritz pairs of a Krylov basis, and what the basis may have missed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.linalg.krylov import Space, dots

HALVINGS = 8  # geometric, from 1e-12: a bound is found to 11 %
RUNG, RUNGS = 3.0, 8  # the multiples at which a weight is looked at, from the spectrum's width down
ROUGH = 1e-2  # of the largest value: a residual above is that of a value not yet found
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

    def hiding(self, above: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
        """The start's weight on an unmet eigenvector of some μ ≥ θ_i + ``above`` (A, j), at most.

        Also (A, j, width), its direction in the front. Two ways to be unmet: an eigenvector of H,
        with μ not within ``apart`` (A, 1) of a larger Ritz value (there it is as good as repeated);
        or one of what is left of H without the first i - 1 Ritz vectors. Looked at are θ_i + above,
        a few μ from there up to the width of the spectrum, and the edges of what is left out:
        between them the weight was never seen to be larger, but that is not proved.
        """
        count, width = above.shape[1], self.values[:, :1] - self.values[:, -1:]
        base = self.values[:, :count] + above
        ladder = [self.values[:, :count] + width / RUNG**i for i in range(RUNGS)]
        edges = [self.values[:, i, None] + side * apart
                 for i in range(count - 1) for side in (1.0, -1.0)]
        above_it = torch.stack([base, *ladder], dim=2)
        points = torch.cat([above_it, *(e.expand_as(base)[..., None] for e in edges)], dim=2)
        larger = torch.arange(count) < torch.arange(count)[:, None]  # (i, l): θ_l before θ_i
        distance = (points[..., None] - self.values[:, None, None, :count]).abs()
        close = (distance < 0.999 * apart[:, :, None, None]) & larger[:, None]
        rungs = torch.arange(count).repeat_interleave(above_it.shape[2])
        found = [self._hiding_at(points.flatten(1), torch.zeros(count * points.shape[2])),
                 self._hiding_at(above_it.flatten(1), rungs)]
        sizes = points.shape[2], above_it.shape[2]
        weights = torch.cat([
            w.view(len(w), count, n) for (w, _), n in zip(found, sizes, strict=True)], dim=2)
        ways = torch.cat([
            d.view(len(d), count, n, d.shape[2]) for (_, d), n in zip(found, sizes, strict=True)],
            dim=2)
        everywhere = torch.cat([points, above_it], dim=2) >= base[..., None]
        known = torch.cat([~close.any(3), torch.ones_like(above_it, dtype=torch.bool)], dim=2)
        weights = torch.where(everywhere & known, weights, 0.0)
        worst = weights.nan_to_num(torch.inf).argmax(2, keepdim=True)
        ways = ways.gather(2, worst[..., None].expand(-1, -1, -1, ways.shape[-1]))
        return weights.gather(2, worst)[:, :, 0], ways[:, :, 0]

    def _hiding_at(self, points: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The start's weight on an eigenvector of eigenvalue μ = ``points`` (A, j), at most.

        Of H without its Ritz vectors before ``first`` (j,).

        And (A, j, width), its direction in the front. Let q be its part in the front, F the
        residuals and D = diag(1 / (μ - θ)). Then its part in the basis is D Fᵀ q and in the start
        Z D Fᵀ q: the weight is the maximum over q of |Z D Fᵀ q|² / (|q|² + |D Fᵀ q|²), here with
        the Frobenius norm, so an upper bound.
        """
        gap = points[:, :, None] - self.values[:, None]
        part = self.residuals[:, None] / gap[:, :, None]
        part = part.nan_to_num(0, torch.inf, -torch.inf)  # no residual, no gap: nothing hides
        part = part * (torch.arange(gap.shape[2]) >= first[:, None])[:, None]
        whole = dots(part, part) + torch.eye(part.shape[2], dtype=part.dtype)
        root = torch.linalg.cholesky_ex(whole)[0]
        seen = torch.linalg.solve_triangular(root, dots(part, self.start[:, None]), upper=False)
        weights = seen.square().sum(2)
        most = weights.argmax(2)[:, :, None, None].expand_as(seen[..., :1])
        way = torch.linalg.solve_triangular(root.mT, seen.gather(3, most), upper=True)
        return weights.sum(2), way[..., 0]

    def bounds(self, guess: Tensor, apart: Tensor, weight: float, done: Tensor) -> Tensor:
        """(A, j) bounds of the first j values, sought from ``guess`` (A, j) on.

        ``weight`` is what the start vectors may miss; ``apart`` as in ``hiding``. Where a run
        is not ``done`` (A,), a value with a large residual, and any after it, may stand in the
        place of one that was not found yet: its bound reaches the value before.
        """
        def holds(above: Tensor) -> Tensor:  # NaN does not
            return self.hiding(above, apart)[0] <= weight

        high = guess.clamp_min(torch.finfo(guess.dtype).tiny)
        while not (enough := holds(high)).all() and high.isfinite().all():
            high = torch.where(enough, high, 4 * high)
        low = 1e-12 * high
        for _ in range(HALVINGS):
            middle = (low * high).sqrt()
            enough = holds(middle)
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        found = high + self.rounding
        count = found.shape[1]
        norms = self.residuals[:, :, :count].norm(dim=1)
        rough = (norms.cummax(1).values > ROUGH * self.values[:, :1].abs()) & ~done[:, None]
        before = self.values[:, : count - 1] + found[:, :-1] - self.values[:, 1:count]
        found[:, 1:] = torch.where(rough[:, 1:], torch.maximum(found[:, 1:], before), found[:, 1:])
        return found
