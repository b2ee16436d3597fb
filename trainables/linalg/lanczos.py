"""Extreme eigenpairs of R symmetric matrices at once, known only through their products."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainables.linalg.krylov import Product, Space
from trainables.linalg.ritz import Ritz


@dataclass(frozen=True)
class Eigenpairs:
    """What was found for each run; a run that met a non-finite product holds NaN."""

    values: Tensor  # (R, k) float64, descending, largest algebraic; NaN beyond the P-th
    vectors: Tensor  # (R, k, P), orthonormal Ritz vectors of `values`
    bounds: Tensor  # (R, k) float64, error bound of each value
    rest: Tensor  # (R,) float64, upper bound on the (k+2)-th value; NaN where there is none
    smallest: Tensor | None  # (R,) float64, smallest algebraic eigenvalue
    smallest_bound: Tensor | None  # (R,) float64
    products: Tensor  # (R,) int64, products up to the run's own stop
    converged: Tensor  # (R,) bool, stopped by its own rule, not by ``max_products``
    basis: Tensor  # (R, M, P), all Ritz vectors at the run's own stop, then zero rows
    ritz: Tensor  # (R, M) float64, Ritz values of `basis`; their sum is tr(V H Vᵀ)
    followed: Tensor | None = None  # (R,) snapshots for which they were followed, 0 where sought


def extreme_eigenpairs(product: Product, start: Tensor, *, k: int, smallest: bool,
                       tolerance: float, max_products: int, doubt: float = 1e-3,
                       slack: float = 1.0,
                       smallest_tolerance: float | None = None) -> Eigenpairs:
    """The k largest (and the smallest) eigenvalues of each run's own symmetric matrix.

    ``product`` maps (R, P) vectors to (R, P) products. ``start`` is (R, n, P), standard normal.

    Algorithm: Rayleigh-Ritz on a growing orthonormal basis, H V = V T + Q C. Q holds directions
    outside of V: first the start vectors, then what the products left of themselves. Each step
    moves one direction of Q into V. From one start vector this is Lanczos with full
    reorthogonalisation (twice, so no ghosts); from n it is block Lanczos that takes one
    direction at a time, the one in which most could hide, and finds multiplicities up to n.

    Cost of a step: one product and four passes over V and Q, 4 P (m + n) multiply-adds a run.
    Memory: R (m + n) P numbers. T, C and all that follows from them are float64 on the host.

    Bounds: θ_i ≤ λ_i, but a small residual does not say that no eigenvalue between was missed.
    By H V = V T + Q C an eigenvector of eigenvalue μ has a known weight w(μ) in the start, at
    most. A random start's weight in a fixed direction is below w* = 2 (ε Γ(n/2 + 1))^(2/n) / P
    with probability at most ε = ``doubt``. So λ_1 − θ_1 is at most the x beyond which w < w*. For
    i > 1 so is λ_i − θ_i, but for eigenvalues within the allowed bound of a larger Ritz value: from
    n start vectors n of a cluster are told apart, further ones may be **missed**. Plus rounding
    (the asymmetry that the products showed, and 32 eps). For one vector: van Dorsselaer,
    Hochstenbach & van der Vorst 2001. Not covered: products that are not those of one matrix.

    Stop, for each run by itself: every estimate |r|²/gap ≤ tolerance·|θ_1| and every bound ≤
    ``slack`` times that (for the smallest: bound ≤ ``smallest_tolerance``·max|θ|, by default the
    same tolerance), not before max(k, n) + 1 products. Where the Krylov space is exhausted, fresh
    directions follow, and the run stops when they change nothing. A result depends on the run's
    own matrix and start alone.
    """
    limit = max(1, min(start.shape[2], max_products))
    space = Space(start[:, :limit])
    block = space.width
    search = _Search(
        len(start), k=k, tolerance=tolerance, slack=slack, doubt=doubt, dim=space.dim, block=block,
        low_tolerance=(tolerance if smallest_tolerance is None else smallest_tolerance)
        if smallest else None)
    direction = torch.eye(1, block, dtype=torch.float64).repeat(len(start), 1)
    while len(search.open):
        space.expand(product, direction)
        direction = search.judge(space, last=space.size == limit)
        space.close(search.ended)
    return search.result(space)


class _Search:
    """Which runs are still open, and what was found for the closed ones."""

    def __init__(self, runs: int, *, k: int, tolerance: float, slack: float, doubt: float,
                 low_tolerance: float | None, dim: int, block: int):
        self.k, self.block, self.slack = k, block, slack
        self.tolerance, self.low_tolerance = tolerance, low_tolerance
        self.weight = 2 * (doubt * math.gamma(block / 2 + 1)) ** (2 / block) / dim
        self.open, self.ended = torch.arange(runs), torch.arange(0)
        self.products = torch.zeros(runs, dtype=torch.int64)
        self.converged = torch.zeros(runs, dtype=torch.bool)
        self._exhausted_at = torch.full((runs, k), torch.nan, dtype=torch.float64)
        self._closed: list[tuple[Ritz, list[Tensor]]] = []

    def judge(self, space: Space, *, last: bool) -> Tensor:
        """Closes the runs that failed, converged or may not go on; (R, width) where others go."""
        self.products[self.open] = space.size
        self.open = self.open[space.alive[self.open]]
        onward = torch.eye(1, space.width, dtype=torch.float64).repeat(len(space.alive), 1)
        if not len(self.open):
            return onward
        ritz, least = Ritz.of(space, self.open, self.block), max(self.k, self.block) + 1
        ends = self._ends(ritz)
        found = [end.hiding((allowed - end.rounding).clamp_min(0), allowed[:, :1])
                 for end, allowed in ends]
        weight, way = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        done = (weight <= self.weight).all(1) & self._settled(ritz, ends[0][1])
        if self.slack > 1:
            size = ends[0][1].shape[1]
            done &= (ritz.estimates(size) <= ends[0][1] / self.slack + ritz.rounding).all(1)
        done = done & (space.size >= least) | (space.size == space.dim)
        self.converged[self.open] = done
        closed = done | last
        if closed.any():
            self._closed.append((ritz.select(closed), [
                end.select(closed).bounds(
                    _two_more(allowed[closed], end), allowed[closed, :1], self.weight, done[closed])
                for end, allowed in ends]))
        way = way[torch.arange(len(way)), weight.nan_to_num(torch.inf).argmax(1)]
        way = way / way.norm(dim=1, keepdim=True)  # NaN where nothing could hide
        if space.size >= self.block:  # the start vectors come first
            known = ~way.isnan().any(1, keepdim=True)
            onward[self.open] = torch.where(known, way, onward[self.open])
        self.open, self.ended = self.open[~closed], self.open[closed]
        return onward

    def _ends(self, ritz: Ritz) -> list[tuple[Ritz, Tensor]]:
        """The wanted ends of the spectrum, each with the (A, j) errors allowed there.

        λ_max cannot be had to better than rounding of the largest |λ|: tolerance² of that will do.
        """
        largest = ritz.values.abs().amax(1, keepdim=True)
        allowed = self.slack * self.tolerance * torch.maximum(
            ritz.values[:, :1].abs(), self.tolerance * largest)
        ends = [(ritz, allowed.expand(-1, min(self.k, ritz.values.shape[1])))]
        if self.low_tolerance is not None:
            ends.append((ritz.mirrored(), self.low_tolerance * largest))
        return ends

    def _settled(self, ritz: Ritz, allowed: Tensor) -> Tensor:
        """(A,) whether the wanted values outlast the exhaustion of the Krylov space.

        It is exhausted early where eigenvalues repeat more often than there were start vectors:
        then the values count only when a fresh direction's Krylov space has left them unchanged.
        """
        negligible = torch.maximum(ritz.rounding, 1e-3 * allowed[:, :1])
        exhausted = (ritz.residuals.norm(dim=1) <= negligible).all(1)
        before = self._exhausted_at[ritz.runs]
        values = _widen(ritz.values, self.k)
        same = ((values - before).abs() <= allowed[:, :1]) | values.isnan()
        self._exhausted_at[ritz.runs] = torch.where(exhausted[:, None], values, before)
        return torch.where(exhausted, same.all(1), before[:, 0].isnan())

    def result(self, space: Space) -> Eigenpairs:
        """All runs' findings; the basis is turned into Ritz vectors."""
        runs, m = len(space.alive), space.size
        values, bounds = torch.full((2, runs, self.k), torch.nan, dtype=torch.float64)
        low, low_bound, rest = torch.full((3, runs), torch.nan, dtype=torch.float64)
        ritz = torch.full((runs, m), torch.nan, dtype=torch.float64)
        weights = torch.zeros(runs, m, m, dtype=torch.float64)
        for found, limits in self._closed:
            size = found.values.shape[1]
            values[found.runs] = _widen(found.values, self.k)
            bounds[found.runs] = _widen(limits[0], self.k)
            if size > self.k + 1:
                rest[found.runs] = found.values[:, self.k + 1] + limits[0][:, self.k + 1]
            low[found.runs], low_bound[found.runs] = found.values[:, -1], limits[-1][:, 0]
            ritz[found.runs] = pad(found.values, (0, m - size))
            weights[found.runs, :size, :size] = found.weights
        basis = space.combine(weights)
        vectors = pad(basis[:, :self.k], (0, 0, 0, max(0, self.k - m)))
        vectors = vectors.masked_fill(values.isnan().to(basis.device)[:, :, None], torch.nan)
        values, bounds, rest, low, low_bound, products, converged, ritz = (
            t.to(basis.device) for t in (
                values, bounds, rest, low, low_bound, self.products, self.converged, ritz))
        if self.low_tolerance is None:
            low = low_bound = None
        return Eigenpairs(
            values, vectors, bounds, rest, low, low_bound, products, converged, basis, ritz)


def _two_more(allowed: Tensor, end: Ritz) -> Tensor:
    """Guesses for the wanted values and, where there are any, the next two."""
    more = min(2, end.values.shape[1] - allowed.shape[1])
    return torch.cat([allowed, allowed[:, -1:].expand(-1, more)], dim=1)


def _widen(values: Tensor, k: int) -> Tensor:
    """The first k of (A, m), NaN where there are fewer."""
    return pad(values[:, :k], (0, max(0, k - values.shape[1])), value=torch.nan)
