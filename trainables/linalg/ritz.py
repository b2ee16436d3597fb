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
        base = self.values[:, : above.shape[1]] + above
        found = [self._at(base, apart), self._elsewhere(above.shape[1], apart)]
        points, weights, ways = (torch.cat(parts, dim=2) for parts in zip(*found, strict=True))
        weights = torch.where(points >= base[..., None], weights, 0.0)
        worst = weights.nan_to_num(torch.inf).argmax(2, keepdim=True)
        ways = ways.gather(2, worst[..., None].expand(-1, -1, -1, ways.shape[-1]))
        return weights.gather(2, worst)[:, :, 0], ways[:, :, 0]

    def _elsewhere(self, count: int, apart: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The points of ``hiding`` that do not depend on ``above``; as ``_at``."""
        width = self.values[:, :1] - self.values[:, -1:]
        ladder = self.values[:, :count, None] + width[..., None] / RUNG ** torch.arange(
            RUNGS, dtype=width.dtype)
        edges = [self.values[:, i, None] + side * apart
                 for i in range(count - 1) for side in (1.0, -1.0)]
        found = [self._at(ladder, apart)]
        if edges:
            edges = torch.cat(edges, dim=1)[:, None].expand(-1, count, -1)
            found.append(self._at(edges, apart, left=False))
        return tuple(torch.cat(parts, dim=2) for parts in zip(*found, strict=True))

    def _at(self, points: Tensor, apart: Tensor, *, left: bool = True
            ) -> tuple[Tensor, Tensor, Tensor]:
        """Points (A, j[, n]), the weights there (A, j, n') and their directions (A, j, n', width).

        Of H, 0 within ``apart`` of a larger Ritz value; and, n' = 2 n, of what is ``left`` of H
        without the larger Ritz vectors, which for the first is the same.
        """
        points = points.view(*points.shape[:2], -1)
        count, each = points.shape[1:]
        weights, ways = self._hiding_at(points.flatten(1), None)
        if count > 1:
            larger = torch.arange(count) < torch.arange(count)[:, None]  # (i, l): θ_l before θ_i
            distance = (points[..., None] - self.values[:, None, None, :count]).abs()
            close = (distance < 0.999 * apart[:, :, None, None]) & larger[:, None]
            weights = torch.where(close.any(3).flatten(1), 0.0, weights)
        found = [(points, weights, ways)]
        if left and count > 1:
            first = torch.arange(count).repeat_interleave(each)
            found.append((points, *self._hiding_at(points.flatten(1), first)))
        return tuple(torch.cat([p.view(len(p), count, each, *p.shape[2:] if i == 2 else ())
                                for p in parts], dim=2)
                     for i, parts in enumerate(zip(*found, strict=True)))

    def _hiding_at(self, points: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """The start's weight on an eigenvector of eigenvalue μ = ``points`` (A, j), at most.

        Of H, or of H without its Ritz vectors before ``first`` (j,).

        And (A, j, width), its direction in the front. Let q be its part in the front, F the
        residuals and D = diag(1 / (μ - θ)). Then its part in the basis is D Fᵀ q and in the start
        Z D Fᵀ q: the weight is the maximum over q of |Z D Fᵀ q|² / (|q|² + |D Fᵀ q|²), here with
        the Frobenius norm, so an upper bound.
        """
        gap = points[:, :, None] - self.values[:, None]
        part = self.residuals[:, None] / gap[:, :, None]
        part = part.nan_to_num(0, torch.inf, -torch.inf)  # no residual, no gap: nothing hides
        if first is not None:
            part = part * (torch.arange(gap.shape[2]) >= first[:, None])[:, None]
        whole, along = dots(part, part), dots(part, self.start[:, None])
        if part.shape[2] == 1:
            root = (whole + 1).sqrt()
            seen = along / root
            most = seen.square().argmax(3, keepdim=True)
            return seen.square().sum((2, 3)), (seen.gather(3, most) / root)[..., 0]
        whole = whole + torch.eye(part.shape[2], dtype=part.dtype)
        root = torch.linalg.cholesky_ex(whole)[0]
        seen = torch.linalg.solve_triangular(root, along, upper=False)
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
        places, elsewhere, _ = self._elsewhere(guess.shape[1], apart)

        def holds(above: Tensor) -> Tensor:  # NaN does not
            base = self.values[:, : above.shape[1]] + above
            others = torch.where(places >= base[..., None], elsewhere, 0.0)
            return torch.cat([self._at(base, apart)[1], others], dim=2).amax(2) <= weight

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
