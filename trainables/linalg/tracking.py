"""Top eigenpairs of slowly changing symmetric matrices, followed from one snapshot to the next."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainables.linalg.krylov import Product, Space
from trainables.linalg.ritz import GAP_FLOOR, Ritz

SETTLED = 0.15  # the drift above which following costs more products than a new search (measured)
MOST_FOLLOWED = 8  # snapshots in a row: what was missed is not missed for long
HOPE = 10  # times the tolerance, above which so few more products will not do
MORE = 3  # products beyond those of the kept vectors, to bring a run within tolerance


@dataclass(frozen=True)
class Track:
    """What is kept of R runs between snapshots; a run without a past is all zero.

    One pair more than is wanted, the guard: what rises from below shows there first.
    """

    vectors: Tensor  # (R, k + 1, P), the leading Ritz vectors
    values: Tensor  # (R, k + 1) float64, their values
    rest: Tensor  # (R,) float64, what no further eigenvalue exceeds
    drift: Tensor  # (R,) float64, ``relative_change`` in the last interval
    followed: Tensor  # (R,) float64, snapshots since the last search

    @property
    def predictable(self) -> Tensor:
        """(R,) whether another interval like the last would leave the k values the largest."""
        lowest = self.values[:, -2]
        likely = self.rest + 1.5 * self.drift * self.rest.abs()
        fresh = self.followed < MOST_FOLLOWED
        return (lowest > 0) & (likely < lowest) & (self.drift < SETTLED) & fresh


@dataclass(frozen=True)
class Followed:
    """The eigenpairs after the interval."""

    values: Tensor  # (R, k) float64, descending
    bounds: Tensor  # (R, k) float64
    rest: Tensor  # (R,) float64, what no eigenvalue beyond the (k+1)-th exceeds
    drift: Tensor  # (R,) float64
    sound: Tensor  # (R,) bool, within tolerance and the bounds within slack times that
    products: Tensor  # (R,) int64
    basis: Tensor  # (R, M, P), all Ritz vectors at the run's own stop, then zero rows
    ritz: Tensor  # (R, M) float64, their values


def follow(product: Product, track: Track, *, tolerance: float, slack: float) -> Followed:
    """Rayleigh-Ritz on the last snapshot's vectors, then on the worst residuals, up to 3 more.

    Cost: k + 1 products where the spectrum has settled.

    Bounds: with residuals r_i the estimate is |r_i|² / (θ_i − u), the squares summed over values
    closer to each other than their residuals, where u bounds all further eigenvalues. It is carried
    on: u = u_before + d·|u_before|, d the ``relative_change`` of H within the vectors' span. **This
    supposes that H has grown no more, relatively, where it was not looked at**; an eigenvalue that
    grew faster is missed. On top comes whatever u exceeds θ_i by. A run whose u has crept up to its
    k-th value is not sound: then search anew (``lanczos.extreme_eigenpairs``), which bounds u
    afresh. Runs do not depend on each other.
    """
    runs, kept, dim = track.vectors.shape
    space = Space(track.vectors)
    for _ in range(kept):
        first = torch.eye(1, space.width, dtype=torch.float64).repeat(runs, 1)
        space.expand(product, first)
    drift = relative_change(space.projected, track.values)
    rest = track.rest + drift * track.rest.abs()
    found, way = _pairs(space, rest, kept - 1)
    products = torch.full((runs,), kept)
    for _ in range(min(MORE, dim - kept)):
        near = found.estimates.amax(1) <= HOPE * tolerance * found.values[:, 0]
        hopeful = ~_sound(found, tolerance, slack) & (rest < found.values[:, -1]) & near
        if not hopeful.any():
            break
        space.close((~hopeful).nonzero().flatten())
        space.expand(product, way)
        products = products + hopeful
        newer, way = _pairs(space, rest, kept - 1)
        found = _chosen(hopeful, newer, found)
    return Followed(
        found.values, found.bounds, rest, drift, _sound(found, tolerance, slack) & space.alive,
        products, space.combine(found.weights), found.ritz)


@dataclass(frozen=True)
class _Pairs:
    values: Tensor  # (R, k)
    bounds: Tensor  # (R, k)
    estimates: Tensor  # (R, k)
    ritz: Tensor  # (R, m)
    weights: Tensor  # (R, m, m)


def _pairs(space: Space, rest: Tensor, k: int) -> tuple[_Pairs, Tensor]:
    """The k leading pairs, and (R, width) the direction in which the worst of them is wrong."""
    ritz = Ritz.of(space, torch.arange(len(rest)))
    values = ritz.values[:, :k]
    norms = ritz.residuals[:, :, :k].norm(dim=1)
    above = values - rest[:, None]
    gap = torch.maximum(above, GAP_FLOOR * values[:, :1].abs())
    estimates = torch.where(
        above > 0, _of_cluster(values, norms) / gap, norms).nan_to_num(torch.inf)
    bounds = estimates + (-above).clamp_min(0) + ritz.rounding
    worst = estimates.argmax(1)[:, None, None].expand(-1, ritz.residuals.shape[1], 1)
    way = ritz.residuals.gather(2, worst)[:, :, 0]
    way = way / way.norm(dim=1, keepdim=True)
    first = torch.eye(1, space.width, dtype=torch.float64)
    way = torch.where(way.isfinite().all(1, keepdim=True), way, first)
    return _Pairs(values, bounds, estimates, ritz.values, ritz.weights), way


def _of_cluster(values: Tensor, norms: Tensor) -> Tensor:
    """(R, k) squared residuals, summed over the values that could be mixed with each other."""
    apart = (values[:, :, None] - values[:, None]).abs()
    mixed = apart <= torch.maximum(norms[:, :, None], norms[:, None])
    return (mixed * norms.square()[:, None]).sum(2)


def relative_change(projected: Tensor, values: Tensor) -> Tensor:
    """(R,) spectral norm of Θ^(−½) (V H Vᵀ − Θ) Θ^(−½): how much H changed within span(V).

    ``projected`` (R, k, k) is V H Vᵀ, Θ = diag(``values``) what it was; 1 where Θ is not positive.
    """
    root = values.clamp_min(0).sqrt()
    change = (projected - torch.diag_embed(values)) / (root[:, :, None] * root[:, None])
    known = change.isfinite().flatten(1).all(1)
    norms = torch.linalg.matrix_norm(torch.where(known[:, None, None], change, 0), 2)
    return torch.where(known, norms, 1.0)


def _sound(found: _Pairs, tolerance: float, slack: float) -> Tensor:
    allowed = tolerance * found.values[:, :1].abs()
    return (found.estimates <= allowed).all(1) & (found.bounds <= slack * allowed).all(1)


def _chosen(which: Tensor, new: _Pairs, old: _Pairs) -> _Pairs:
    """The new pairs of the runs ``which``, the old ones of the others, in the new size."""
    more = new.ritz.shape[1] - old.ritz.shape[1]
    padded = _Pairs(old.values, old.bounds, old.estimates, pad(old.ritz, (0, more)),
                    pad(old.weights, (0, more, 0, more)))
    return _Pairs(*(
        torch.where(which.view(-1, *(1,) * (a.dim() - 1)), a, b)
        for a, b in zip(vars(new).values(), vars(padded).values(), strict=True)))
