"""The best η at one batch size, with its interval: noisy curves have treacherous maxima.

The score of a cell is the mean over its seeds, on the scale of the laws. Around the best cell, the
cells within a factor two (of loss, or of the odds of an error) are fitted by a quadratic in log η,
whose vertex is the optimum. Where the score falls off a cliff on one side there is no vertex to
fit: then the optimum lies between the best cell's neighbours, which is all that unimodality says.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.bootstrap import expanded, weights
from analysis.crossed import Interval

DROP = math.log(2)
_OFTEN, _RARELY = 0.25, 0.025
_MANY = 5
_DRAWS = 200
_SEED = 20260


class Kind(StrEnum):
    """How an optimum is known."""

    FITTED = "fitted"
    BRACKETED = "bracketed"
    EDGE = "at the grid's edge"


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best η at ``batch_size``: ``lr`` with its 95 % interval, where seeds and cells are
    reweighted and the search for the best cell is repeated each time.

    ``kind``: a vertex; or the best cell between its neighbours; or the end of what was run, so that
    the optimum may lie beyond. ``draws``: (n,) of log η. ``best``: the cell that scored best,
    ``score`` its score. ``seeds``: with one, the interval is the neighbours' alone. ``cells``: how
    many η have a score. The interval is open, to 0 or ∞, where the grid ends before.
    """

    batch_size: int
    lr: Interval
    kind: Kind
    draws: np.ndarray
    best: float
    score: float
    seeds: int
    cells: int

    @property
    def deviation(self) -> float:
        """Of log η."""
        return float(np.std(self.draws))


def optimum(batch_size: int, lr: np.ndarray, table: np.ndarray) -> Optimum:
    """The optimum over cells of one batch size, in order of η.

    ``lr`` (cells,); ``table`` (cells, seeds): scores, more is better, NaN where a run is missing; a
    cell without any is one in which training was lost, and the optimum is not there. At least one
    cell has a score. Cost: O(draws · cells).
    """
    x, one = np.log(lr), np.ones((1, table.shape[1]))
    means = _means(table, one)
    found = _peaks(x, means, np.ones_like(means))
    value, best, kind = float(found.values[0]), int(found.best[0]), found.kind(0)
    draws, at_low, at_high = _draws(x, table, batch_size)
    seeds = int(np.isfinite(table).any(axis=0).sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    if seeds > 2 and kind is Kind.FITTED:
        wide = expanded(draws, value, seeds - 1)
        low, high = max(wide.low, x[0]), min(wide.high, x[-1])
    low = -math.inf if at_low > _RARELY else min(low, value)
    high = math.inf if at_high > _RARELY else max(high, value)
    interval = Interval(*(float(np.exp(v)) for v in (value, low, high)))
    kind = Kind.EDGE if at_low > _OFTEN or at_high > _OFTEN else kind
    return Optimum(batch_size, interval, kind, draws, float(lr[best]), float(means[0, best]), seeds,
                   int(np.isfinite(means).sum()))


def _means(table: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws, cells): weighted means over the seeds that a cell has; NaN without any."""
    known = np.isfinite(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        return drawn @ np.where(known, table, 0.0).T / (drawn @ known.T)


def _draws(x: np.ndarray, table: np.ndarray, stream: int) -> tuple[np.ndarray, float, float]:
    """log η of the optimum in each draw, and in which share of them it is at the lower and at the
    upper end of the grid.

    Where it is only bracketed, the draws spread evenly between the best cell's neighbours; so they
    do with a single seed, which tells no noise, and in half of the draws where the fit has too few
    cells to tell how skewed the curve is. Where a bracket holds the optimum at one S may be where
    it does at another, or not: half of the draws are common to all S.
    """
    means = _means(table, weights(table.shape[1], _DRAWS, stream=3))
    found = _peaks(x, means, weights(len(x), _DRAWS, stream=4))
    even, place = (np.arange(_DRAWS) + 0.5) / _DRAWS, np.arange(_DRAWS)
    common = np.random.default_rng(_SEED).permutation(even)
    own = np.random.default_rng((_SEED, stream)).permutation(even)
    left, right = (x[np.clip(found.best + step, 0, len(x) - 1)] for step in (-1, 1))
    between = left + np.where(place % 2, common, own) * (right - left)
    single = np.isfinite(table).sum(axis=1).max() < 2
    few = ~found.edge & (found.cells < _MANY) & (place % 4 < 2)
    bracketed = ~found.edge & (found.cells == 0)
    draws = np.where(single | few | bracketed, between, found.values)
    ends = (float((found.best == end).mean()) for end in (0, len(x) - 1))
    return draws, *ends


@dataclass(frozen=True)
class _Peaks:
    """Of several curves: log η of the optimum, the best cell, whether that is an end of the grid,
    and how many cells the fit has; 0 where nothing could be fitted."""

    values: np.ndarray
    best: np.ndarray
    edge: np.ndarray
    cells: np.ndarray

    def kind(self, i: int) -> Kind:
        """How the optimum of one of them is known."""
        return Kind.EDGE if self.edge[i] else Kind.FITTED if self.cells[i] else Kind.BRACKETED


def _peaks(x: np.ndarray, means: np.ndarray, drawn: np.ndarray) -> _Peaks:
    """Of ``means`` (draws, cells), with weights ``drawn`` of the cells, alike."""
    place, count = np.arange(len(x)), len(x)
    best = np.nanargmax(means, axis=1)
    with np.errstate(invalid="ignore"):
        bad = ~(means >= means[np.arange(len(means)), best][:, None] - DROP)
    first = np.where(bad & (place < best[:, None]), place, -1).max(axis=1) + 1
    last = np.where(bad & (place > best[:, None]), place, count).min(axis=1) - 1
    edge = (best == 0) | (best == count - 1)
    sided = ~edge & (first < best) & (last > best)
    inside = (place >= first[:, None]) & (place <= last[:, None])
    about = x[None] - x[best][:, None]
    top = np.full(len(means), np.nan)
    for degree, least in ((2, 3), (3, _MANY)):  # a cubic, where it has its maximum, comes last
        rows = np.flatnonzero(sided & (last - first + 1 >= least))
        if len(rows):
            here = _tops(about[rows], np.where(inside, means, 0.0)[rows], (drawn * inside)[rows],
                         degree)
            low, high = x[first[rows]] - x[best[rows]], x[last[rows]] - x[best[rows]]
            kept = np.clip(here, low, high) if degree == 2 else np.where(
                (here >= low) & (here <= high), here, top[rows])
            top[rows] = kept
    fitted = np.isfinite(top)
    values = x[best] + np.where(fitted, top, 0.0)
    return _Peaks(values, best, edge, np.where(fitted, last - first + 1, 0))


def _tops(x: np.ndarray, y: np.ndarray, weight: np.ndarray, degree: int) -> np.ndarray:
    """(draws,): where weighted polynomials of that degree turn down; NaN where they do not.

    Quadratics for few cells, cubics where five cells or more tell how skewed a curve is.
    """
    powers = x[..., None] ** np.arange(degree + 1)
    weighted = powers * weight[..., None]
    gram = np.einsum("dnp,dnq->dpq", weighted, powers)
    c = np.linalg.solve(gram, np.einsum("dnp,dn->dp", weighted, y)[..., None])[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        if degree == 2:
            return np.where(c[:, 2] < 0, -c[:, 1] / (2 * c[:, 2]), np.nan)
        inner = c[:, 2] ** 2 - 3 * c[:, 3] * c[:, 1]
        return np.where(c[:, 2] < 0, -c[:, 1] / (c[:, 2] - np.sqrt(inner)), np.nan)
