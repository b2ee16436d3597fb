"""Extreme eigenpairs of R symmetric matrices at once, known only through their products."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

Product = Callable[[Tensor], Tensor]

# What rounding may leave of a vector that lies in the basis, and of an eigenvalue, in units of
# the dtype's eps times the largest |H v| seen.
ROUNDING = 32
GROWTH = 32  # rows by which the basis grows


@dataclass(frozen=True)
class Eigenpairs:
    """What was found for each run; a run that met a non-finite product holds NaN everywhere."""

    values: Tensor  # (R, k) float64, descending, largest algebraic; NaN beyond the P-th
    vectors: Tensor  # (R, k, P), orthonormal Ritz vectors of `values`
    bounds: Tensor  # (R, k) float64, error bound of each value
    smallest: Tensor | None  # (R,) float64, smallest algebraic eigenvalue
    smallest_bound: Tensor | None  # (R,) float64
    products: Tensor  # (R,) int64, products up to the run's own stop
    converged: Tensor  # (R,) bool, every wanted bound is within tolerance, or the space is whole
    basis: Tensor  # (R, M, P), all Ritz vectors at the run's own stop, zero rows beyond them
    ritz: Tensor  # (R, M) float64, Ritz values of `basis`: their sum is tr(V H Vᵀ)


def extreme_eigenpairs(product: Product, start: Tensor, *, k: int, smallest: bool,
                       tolerance: float, max_products: int) -> Eigenpairs:
    """The k largest (and the smallest) eigenvalues of each run's own symmetric matrix.

    ``product`` maps (R, P) vectors to (R, P) products; ``start`` is (R, b, P).

    Algorithm: Rayleigh-Ritz on a growing orthonormal basis V, H V = V T + Q C. Q holds b
    directions outside of V: first the start vectors, then what the products left of themselves.
    Each step moves into V the residual direction C s of the worst wanted Ritz pair. From one
    start vector this is Lanczos with full reorthogonalisation (twice, so no ghosts); from b it
    is block Lanczos that takes one direction at a time, and finds multiplicities up to b. Earlier
    Ritz vectors plus a random one make a warm start.

    Cost a step: one product, and 4 passes over V (about m·P·4 multiply-adds a run). Memory: V
    alone, R·(m + b)·P. T, C, Ritz values and residuals are float64 on the host.

    Bounds: for a cut c ≥ i after the c largest Ritz values, with E_c their residuals' norm and
    g the gap from θ_i to the largest θ_j + |r_j| beyond the cut, the i-th eigenvalue differs from
    θ_i by at most 2 E_c² / (g + √(g² + 4 E_c²)) (Li & Li 2005; residual²/gap for large gaps,
    the residual for none); the best cut counts. Rounding (the asymmetry that the products
    showed, and 32 eps) is added. A bound holds if V has met every wanted eigenvector: one that is
    orthogonal to the start has probability zero under a random start, but one of small weight
    (a warm start's danger) or a multiplicity above b goes unseen.

    Stop, for each run by itself: every bound ≤ tolerance·|θ_1| (for the smallest:
    tolerance·max|θ|), and not before max(k + 1, b) + 1 products. Where the Krylov space is
    exhausted, fresh directions follow, and the run stops when they have changed nothing.
    A result depends on the run's own matrix and start alone.
    """
    limit = max(1, min(start.shape[2], max_products))
    space = _Space(start[:, :limit])
    block = space.width
    search = _Search(len(start), k=k, smallest=smallest, tolerance=tolerance,
                     least=max(k + 1, block) + 1)
    direction = first = torch.eye(1, block, dtype=torch.float64).repeat(len(start), 1)
    while len(search.open):
        space.expand(product, direction)
        direction = search.judge(space, last=space.size == limit)
        if space.size < block:
            direction = first
    return search.result(space)


class _Space:
    """Orthonormal rows: ``size`` of the basis V, then ``width`` of the front Q."""

    def __init__(self, start: Tensor):
        runs, width, self.dim = start.shape
        self.size, self.width = 0, 0
        self.alive = torch.ones(runs, dtype=torch.bool)
        self.projected = torch.zeros(runs, 0, 0, dtype=torch.float64)  # T
        self.coupling = torch.zeros(runs, width, 0, dtype=torch.float64)  # C
        self.scale = torch.zeros(runs, dtype=torch.float64)
        self.asymmetry = torch.zeros(runs, dtype=torch.float64)
        self.rows = start.new_empty(runs, 0, self.dim)
        for vector in start.detach().unbind(1):
            self._append(self._split(vector)[0], _norm(vector))

    @property
    def rounding(self) -> Tensor:
        """(R,) what rounding may have done to an eigenvalue."""
        return ROUNDING * torch.finfo(self.rows.dtype).eps * self.scale + self.asymmetry

    def expand(self, product: Product, direction: Tensor) -> None:
        """Moves the combination ``direction`` (R, width) of the front into the basis."""
        self._turn(direction)
        m = self.size
        image = product(self.rows[:, m]).detach()
        self.scale = torch.maximum(self.scale, _norm(image).nan_to_num(0, 0, 0))
        rest, dots = self._split(image)
        self.alive &= dots.isfinite().all(1)
        dots = torch.where(self.alive[:, None], dots, 0)
        known, self.coupling = self.coupling[:, 0], self.coupling[:, 1:]
        self.asymmetry = torch.hypot(self.asymmetry, (dots[:, :m] - known).norm(dim=1))
        self.projected = pad(self.projected, (0, 1, 0, 1))
        self.projected[:, m, :m] = self.projected[:, :m, m] = (dots[:, :m] + known) / 2
        self.projected[:, m, m] = dots[:, m]
        self.coupling = torch.cat([self.coupling, dots[:, m + 1:, None]], dim=2)
        self.size, self.width = m + 1, self.width - 1
        if self.size + self.width < self.dim:
            self.coupling = pad(self.coupling, (0, 0, 0, 1))
            self.coupling[:, -1, m] = self._append(rest, self.scale)

    def combine(self, weights: Tensor) -> Tensor:
        """(R, m, n) float64 weights of the first m basis rows to (R, n, P) vectors."""
        return torch.bmm(weights.mT.to(self.rows), self.rows[:, :weights.shape[1]])

    def _turn(self, direction: Tensor) -> None:
        """Householder reflection of the front that makes ``direction`` its first vector."""
        axis = direction.clone()
        axis[:, 0] += torch.where(direction[:, 0] < 0, -1.0, 1.0)
        turn = torch.eye(self.width, dtype=torch.float64) - (
            2 * axis[:, :, None] * axis[:, None] / axis.square().sum(1)[:, None, None])
        front = self.rows[:, self.size:self.size + self.width]
        front.copy_(torch.bmm(turn.to(front), front))
        self.coupling = torch.bmm(turn, self.coupling)

    def _split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The part of (R, P) outside of all rows, and the (R, rows) float64 dots with them."""
        rows = self.rows[:, :self.size + self.width]
        dots = torch.zeros(1, dtype=torch.float64)
        rest = vector[:, None]
        for _ in range(2):
            found = torch.bmm(rest, rows.mT)
            rest = torch.baddbmm(rest, found, rows, alpha=-1)
            dots = dots + found[:, 0].double().cpu()
        return rest[:, 0], dots

    def _append(self, vector: Tensor, reference: Tensor) -> Tensor:
        """A new front row from what ``_split`` left; (R,) its norm.

        Where that is but rounding beside ``reference``, the row is a fresh direction and the
        norm 0. Fresh directions depend on nothing but their position.
        """
        norm = _norm(vector)
        self.alive &= norm.isfinite()
        spent = norm <= ROUNDING * torch.finfo(vector.dtype).eps * reference
        if spent.any():
            generator = torch.Generator().manual_seed(self.size + self.width)
            fresh = torch.randn(self.dim, generator=generator, dtype=torch.float64).to(vector)
            fresh = self._split(fresh.expand_as(vector))[0]
            vector = torch.where(spent.to(vector.device)[:, None], fresh, vector)
        alive = self.alive.to(vector.device)[:, None]
        unit = torch.where(alive, vector / _norm(vector).to(vector)[:, None], 0)
        place = self.size + self.width
        if place == self.rows.shape[1]:
            more = min(GROWTH, self.dim - place)
            self.rows = torch.cat([self.rows, vector.new_empty(len(vector), more, self.dim)], 1)
        self.rows[:, place] = unit
        self.width += 1
        return torch.where(spent, 0, norm)


@dataclass(frozen=True)
class _Ritz:
    """Ritz pairs of the runs ``runs`` (A,) in m dimensions, values descending, with bounds."""

    runs: Tensor
    values: Tensor  # (A, m)
    weights: Tensor  # (A, m, m), one column a pair, in terms of the basis
    residuals: Tensor  # (A, width, m), one column a pair, in terms of the front
    norms: Tensor  # (A, m) of the residuals
    top_bounds: Tensor  # (A, min(k, m))
    low_bound: Tensor  # (A,)
    rounding: Tensor  # (A,)

    @classmethod
    def of(cls, space: _Space, runs: Tensor, k: int) -> "_Ritz":
        values, weights = torch.linalg.eigh(space.projected[runs])
        values, weights = values.flip(1), weights.flip(2)
        residuals = torch.bmm(space.coupling[runs], weights)
        norms, rounding = residuals.norm(dim=1), space.rounding[runs]
        top = _bounds(values, norms, k) + rounding[:, None]
        low = _bounds(-values.flip(1), norms.flip(1), 1)[:, 0] + rounding
        return cls(runs, values, weights, residuals, norms, top, low, rounding)

    def select(self, chosen: Tensor) -> "_Ritz":
        """The same for a part of the runs."""
        return _Ritz(*(t[chosen] for t in vars(self).values()))

    def direction(self, wanted: Tensor) -> Tensor:
        """(A, width) unit vectors: the worst residual among ``wanted`` (A, m), or else of all."""
        wanted = wanted | ~wanted.any(1, keepdim=True)
        worst = torch.where(wanted, self.norms, -1).argmax(1)
        found = self.residuals[torch.arange(len(worst)), :, worst]
        length = found.norm(dim=1, keepdim=True)
        first = torch.eye(1, found.shape[1], dtype=found.dtype)
        return torch.where(length > 0, found / length, first)


def _bounds(values: Tensor, norms: Tensor, k: int) -> Tensor:
    """(A, min(k, m)) error bounds of the largest ``values`` (A, m), the best cut for each."""
    k = min(k, values.shape[1])
    spread = norms.square().cumsum(1).sqrt()[:, None]
    reach = (values + norms).flip(1).cummax(1).values.flip(1)
    beyond = pad(reach[:, 1:], (0, 1), value=torch.inf)  # nothing is known beyond the last cut
    gap = (values[:, :k, None] - beyond[:, None]).clamp_min(0)
    bound = 2 * spread**2 / (gap + torch.hypot(gap, 2 * spread))
    bound = torch.where(spread == 0, 0, bound)
    before = torch.ones(k, values.shape[1], dtype=torch.bool).tril(-1)
    return bound.masked_fill(before, torch.inf).amin(2)


class _Search:
    """Which runs are still open, and what was found for the closed ones."""

    def __init__(self, runs: int, *, k: int, smallest: bool, tolerance: float, least: int):
        self.k, self.smallest, self.tolerance, self.least = k, smallest, tolerance, least
        self.open = torch.arange(runs)
        self.products = torch.zeros(runs, dtype=torch.int64)
        self.converged = torch.zeros(runs, dtype=torch.bool)
        self._closed: list[_Ritz] = []
        self._exhausted_at = torch.full((runs, k), torch.nan, dtype=torch.float64)

    def judge(self, space: _Space, *, last: bool) -> Tensor:
        """Closes the runs that failed, converged or may not go on; (R, width) where others go."""
        self.products[self.open] = space.size
        self.open = self.open[space.alive[self.open]]
        onward = torch.eye(1, space.width, dtype=torch.float64).repeat(len(space.alive), 1)
        if len(self.open):
            ritz = _Ritz.of(space, self.open, self.k)
            wanted, allowed = self._unmet(ritz)
            done = ~wanted.any(1) & self._settled(ritz, allowed) & (space.size >= self.least)
            done |= space.size == space.dim
            self.converged[self.open] = done
            self._closed.append(ritz.select(done | last))
            if not last:
                onward[self.open] = ritz.direction(wanted)
            self.open = self.open[~(done | last)]
        return onward

    def _unmet(self, ritz: _Ritz) -> tuple[Tensor, Tensor]:
        """(A, m) the wanted pairs whose bound is too wide, and the (A,) bound that is allowed.

        λ_max cannot be had to better than rounding of the largest |λ|: tolerance² of that will do.
        """
        largest = ritz.values.abs().amax(1)
        allowed = self.tolerance * torch.maximum(
            ritz.values[:, 0].abs(), self.tolerance * largest)
        unmet = torch.zeros_like(ritz.values, dtype=torch.bool)
        unmet[:, :self.k] = ritz.top_bounds > allowed[:, None]
        if self.smallest:
            unmet[:, -1] |= ritz.low_bound > self.tolerance * largest
        return unmet, allowed

    def _settled(self, ritz: _Ritz, allowed: Tensor) -> Tensor:
        """(A,) whether the wanted values outlast the exhaustion of the Krylov space.

        It is exhausted early where eigenvalues repeat more often than there were start vectors:
        then the values count only when a fresh direction's Krylov space has left them unchanged.
        """
        exhausted = ritz.norms.amax(1) <= ritz.rounding
        before = self._exhausted_at[ritz.runs]
        values = _widen(ritz.values, self.k)
        same = ((values - before).abs() <= allowed[:, None]) | values.isnan()
        self._exhausted_at[ritz.runs] = torch.where(exhausted[:, None], values, before)
        return torch.where(exhausted, same.all(1), before[:, 0].isnan())

    def result(self, space: _Space) -> Eigenpairs:
        """All runs' findings; the basis rotated to Ritz vectors."""
        runs, m = len(space.alive), space.size
        values, bounds = torch.full((2, runs, self.k), torch.nan, dtype=torch.float64)
        low, low_bound = torch.full((2, runs), torch.nan, dtype=torch.float64)
        ritz = torch.full((runs, m), torch.nan, dtype=torch.float64)
        weights = torch.zeros(runs, m, m, dtype=torch.float64)
        for found in self._closed:
            size = found.values.shape[1]
            values[found.runs] = _widen(found.values, self.k)
            bounds[found.runs] = _widen(found.top_bounds, self.k)
            low[found.runs], low_bound[found.runs] = found.values[:, -1], found.low_bound
            ritz[found.runs] = pad(found.values, (0, m - size))
            weights[found.runs, :size, :size] = found.weights
        device = space.rows.device
        basis = space.combine(weights)
        vectors = pad(basis[:, :self.k], (0, 0, 0, max(0, self.k - m)))
        vectors = vectors.masked_fill(values.isnan().to(device)[:, :, None], torch.nan)
        return Eigenpairs(
            values.to(device), vectors, bounds.to(device),
            low.to(device) if self.smallest else None,
            low_bound.to(device) if self.smallest else None,
            self.products.to(device), self.converged.to(device), basis, ritz.to(device))


def _widen(values: Tensor, k: int) -> Tensor:
    """The first k of (A, m), NaN where there are fewer."""
    return pad(values[:, :k], (0, max(0, k - values.shape[1])), value=torch.nan)


def _norm(vectors: Tensor) -> Tensor:
    """(R, P) to (R,) float64 norms on the host."""
    return vectors.double().norm(dim=1).cpu()
