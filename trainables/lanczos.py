"""Extreme eigenpairs of R symmetric matrices at once, known only through their products."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainables.krylov import Product, Space, dots

DOUBT = 1e-3  # probability that a random start hides an eigenvalue beyond a bound
HALVINGS = 8  # geometric, from 1e-12: a bound is found to 11 %


@dataclass(frozen=True)
class Eigenpairs:
    """What was found for each run; a run that met a non-finite product holds NaN."""

    values: Tensor  # (R, k) float64, descending, largest algebraic; NaN beyond the P-th
    vectors: Tensor  # (R, k, P), orthonormal Ritz vectors of `values`
    bounds: Tensor  # (R, k) float64, error bound of each value
    smallest: Tensor | None  # (R,) float64, smallest algebraic eigenvalue
    smallest_bound: Tensor | None  # (R,) float64
    products: Tensor  # (R,) int64, products up to the run's own stop
    converged: Tensor  # (R,) bool, every wanted bound is within tolerance, or the space is whole
    basis: Tensor  # (R, M, P), all Ritz vectors at the run's own stop, then zero rows
    ritz: Tensor  # (R, M) float64, Ritz values of `basis`; their sum is tr(V H Vᵀ)


def extreme_eigenpairs(product: Product, start: Tensor, *, k: int, smallest: bool,
                       tolerance: float, max_products: int, random: int | None = None,
                       smallest_tolerance: float | None = None) -> Eigenpairs:
    """The k largest (and the smallest) eigenvalues of each run's own symmetric matrix.

    ``product`` maps (R, P) vectors to (R, P) products. ``start`` is (R, b, P); its last
    ``random`` vectors (default: all) are standard normal. A warm start puts earlier Ritz
    vectors before them.

    Algorithm: Rayleigh-Ritz on a growing orthonormal basis, H V = V T + Q C. Q holds b
    directions outside of V: first the start vectors, then what the products left of themselves.
    Each step moves one direction of Q into V. From one start vector this is Lanczos with full
    reorthogonalisation (twice, so no ghosts); from b it is block Lanczos that takes one
    direction at a time, the one in which most could hide, and finds multiplicities up to b.

    Cost of a step: one product and four passes over V and Q, 4 P (m + b) multiply-adds a run.
    Memory: R (m + b) P numbers. T, C and all that follows from them are float64 on the host.

    Bounds: θ_i ≤ λ_i, but a small residual does not say that no eigenvalue between was missed.
    So: take out the first i - 1 Ritz vectors (what remains has a largest eigenvalue ≥ λ_i). An
    eigenvector with eigenvalue ≥ θ_i + x that the basis has not met had, by H V = V T + Q C, at
    most a weight w(x) in the start. A random start's weight in a fixed direction is below
    w* = 2 (ε Γ(n/2 + 1))^(2/n) / P with probability at most ε = 1e-3 (n random vectors). The
    bound is the x with w(x) = w*, plus rounding (the asymmetry that the products showed, and
    32 eps). For Lanczos: van Dorsselaer, Hochstenbach & van der Vorst 2001. Not covered:
    multiplicities above b, and products that are not those of one symmetric matrix.

    Stop, for each run by itself: every bound ≤ tolerance·|θ_1| (for the smallest:
    ``smallest_tolerance``·max|θ|, by default the same tolerance), not before max(k, b) + 1
    products. Where the Krylov space is exhausted, fresh directions follow, and the run stops
    when they change nothing. A result depends on the run's own matrix and start alone.
    """
    limit = max(1, min(start.shape[2], max_products))
    space = Space(start[:, -limit:])
    block = space.width
    random = block if random is None else min(random, block)
    search = _Search(
        len(start), k=k, tolerance=tolerance, least=max(k, block) + 1,
        random=slice(block - random, block), dim=space.dim,
        low_tolerance=(tolerance if smallest_tolerance is None else smallest_tolerance)
        if smallest else None)
    direction = first = torch.eye(1, block, dtype=torch.float64).repeat(len(start), 1)
    while len(search.open):
        space.expand(product, direction)
        direction = first[:, :space.width]
        if space.size >= block:
            direction = search.judge(space, last=space.size == limit)
    return search.result(space)


@dataclass(frozen=True)
class _Ritz:
    """Ritz pairs of the runs ``runs`` (A,) in m dimensions, values descending."""

    runs: Tensor
    values: Tensor  # (A, m)
    weights: Tensor  # (A, m, m), one column a pair, in terms of the basis
    residuals: Tensor  # (A, width, m), one column a pair, in terms of the front
    start: Tensor  # (A, n, m), one column a pair, in terms of the n random start vectors
    warm: Tensor  # (A, b - n, m), one column a pair, in terms of the start vectors before those
    rounding: Tensor  # (A, 1)

    @classmethod
    def of(cls, space: Space, runs: Tensor, random: slice) -> "_Ritz":
        pairs = [torch.linalg.eigh(t) for t in space.projected[runs]]  # a batch is not aligned
        values = torch.stack([p[0] for p in pairs]).flip(1)
        weights = torch.stack([p[1] for p in pairs]).flip(2)
        return cls(runs, values, weights, dots(space.coupling[runs], weights.mT),
                   weights[:, random], weights[:, :random.start], space.rounding[runs, None])

    def select(self, chosen: Tensor) -> "_Ritz":
        """The same for a part of the runs."""
        return _Ritz(*(t[chosen] for t in vars(self).values()))

    def mirrored(self) -> "_Ritz":
        """The Ritz pairs of -H."""
        return _Ritz(self.runs, -self.values.flip(1), self.weights.flip(2),
                     self.residuals.flip(2), self.start.flip(2), self.warm.flip(2), self.rounding)

    def hiding(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """The start's weight on an unmet eigenvector of μ_i = θ_i + ``above`` (A, j), at most.

        Also (A, j, width), its direction in the front. Let q be its part in the front, F the
        residuals and D = diag(1 / (μ - θ)) without the first i - 1. Then its part in the basis
        is D Fᵀ q and in the start Z D Fᵀ q: the weight is the maximum over q of
        |Z D Fᵀ q|² / (|q|² + |D Fᵀ q|²), here with the Frobenius norm, so an upper bound. The
        random vectors saw nothing within the warm ones: what lies there is taken out of D Fᵀ q.
        """
        count = above.shape[1]
        gap = self.values[:, :count, None] - self.values[:, None] + above[:, :, None]
        part = self.residuals[:, None] / gap[:, :, None]
        part = part.nan_to_num(0, torch.inf, -torch.inf)  # no residual, no gap: nothing hides
        part = part * torch.ones_like(gap).triu()[:, :, None]
        if self.warm.shape[1]:
            warm = self.warm[:, None]
            part = part - dots(dots(part, warm), warm.mT)
        whole = dots(part, part) + torch.eye(part.shape[2], dtype=part.dtype)
        root = torch.linalg.cholesky_ex(whole)[0]
        seen = torch.linalg.solve_triangular(root, dots(part, self.start[:, None]), upper=False)
        weights = seen.square().sum(2)
        most = weights.argmax(2)[:, :, None, None].expand_as(seen[..., :1])
        way = torch.linalg.solve_triangular(root.mT, seen.gather(3, most), upper=True)
        return weights.sum(2), way[..., 0]

    def bounds(self, guess: Tensor, weight: float) -> Tensor:
        """(A, j) bounds of the first j values, sought from ``guess`` (A, j) on."""
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


class _Search:
    """Which runs are still open, and what was found for the closed ones."""

    def __init__(self, runs: int, *, k: int, tolerance: float, low_tolerance: float | None,
                 least: int, random: slice, dim: int):
        self.k, self.least, self.random = k, least, random
        self.tolerance, self.low_tolerance = tolerance, low_tolerance
        n = random.stop - random.start
        self.weight = 2 * (DOUBT * math.gamma(n / 2 + 1)) ** (2 / n) / dim
        self.open = torch.arange(runs)
        self.products = torch.zeros(runs, dtype=torch.int64)
        self.converged = torch.zeros(runs, dtype=torch.bool)
        self._exhausted_at = torch.full((runs, k), torch.nan, dtype=torch.float64)
        self._closed: list[tuple[_Ritz, list[Tensor]]] = []

    def judge(self, space: Space, *, last: bool) -> Tensor:
        """Closes the runs that failed, converged or may not go on; (R, width) where others go."""
        self.products[self.open] = space.size
        self.open = self.open[space.alive[self.open]]
        onward = torch.eye(1, space.width, dtype=torch.float64).repeat(len(space.alive), 1)
        if not len(self.open):
            return onward
        ritz = _Ritz.of(space, self.open, self.random)
        ends = self._ends(ritz)
        found = [end.hiding((allowed - end.rounding).clamp_min(0)) for end, allowed in ends]
        weight, way = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        done = (weight <= self.weight).all(1) & self._settled(ritz, ends[0][1])
        done = done & (space.size >= self.least) | (space.size == space.dim)
        self.converged[self.open] = done
        closed = done | last
        if closed.any():
            self._closed.append((ritz.select(closed), [
                end.select(closed).bounds(allowed[closed], self.weight) for end, allowed in ends]))
        way = way[torch.arange(len(way)), weight.nan_to_num(torch.inf).argmax(1)]
        way = way / way.norm(dim=1, keepdim=True)  # NaN where nothing could hide
        onward[self.open] = torch.where(way.isnan().any(1, keepdim=True), onward[self.open], way)
        self.open = self.open[~closed]
        return onward

    def _ends(self, ritz: _Ritz) -> list[tuple[_Ritz, Tensor]]:
        """The wanted ends of the spectrum, each with the (A, j) errors allowed there.

        λ_max cannot be had to better than rounding of the largest |λ|: tolerance² of that will do.
        """
        largest = ritz.values.abs().amax(1, keepdim=True)
        allowed = self.tolerance * torch.maximum(
            ritz.values[:, :1].abs(), self.tolerance * largest)
        ends = [(ritz, allowed.expand(-1, min(self.k, ritz.values.shape[1])))]
        if self.low_tolerance is not None:
            ends.append((ritz.mirrored(), self.low_tolerance * largest))
        return ends

    def _settled(self, ritz: _Ritz, allowed: Tensor) -> Tensor:
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
        low, low_bound = torch.full((2, runs), torch.nan, dtype=torch.float64)
        ritz = torch.full((runs, m), torch.nan, dtype=torch.float64)
        weights = torch.zeros(runs, m, m, dtype=torch.float64)
        for found, limits in self._closed:
            size = found.values.shape[1]
            values[found.runs] = _widen(found.values, self.k)
            bounds[found.runs] = _widen(limits[0], self.k)
            low[found.runs], low_bound[found.runs] = found.values[:, -1], limits[-1][:, 0]
            ritz[found.runs] = pad(found.values, (0, m - size))
            weights[found.runs, :size, :size] = found.weights
        basis = space.combine(weights)
        vectors = pad(basis[:, :self.k], (0, 0, 0, max(0, self.k - m)))
        vectors = vectors.masked_fill(values.isnan().to(basis.device)[:, :, None], torch.nan)
        values, bounds, low, low_bound, products, converged, ritz = (t.to(basis.device) for t in (
            values, bounds, low, low_bound, self.products, self.converged, ritz))
        if self.low_tolerance is None:
            low = low_bound = None
        return Eigenpairs(
            values, vectors, bounds, low, low_bound, products, converged, basis, ritz)


def _widen(values: Tensor, k: int) -> Tensor:
    """The first k of (A, m), NaN where there are fewer."""
    return pad(values[:, :k], (0, max(0, k - values.shape[1])), value=torch.nan)
