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
_OFTEN = 0.25
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
    ``score`` its score. ``seeds``: with one, the interval is the neighbours' alone.
    """

    batch_size: int
    lr: Interval
    kind: Kind
    draws: np.ndarray
    best: float
    score: float
    seeds: int

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
    x = np.log(lr)
    means = _means(table, np.ones(table.shape[1]))
    found = _peak(x, means)
    draws, edges = _draws(x, table, batch_size)
    kind = Kind.EDGE if edges > _OFTEN else found.kind
    seeds = int(np.isfinite(table).any(axis=0).sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    if seeds > 2 and found.kind is Kind.FITTED:
        wide = expanded(draws, found.value, seeds - 1)
        low, high = max(wide.low, x[0]), min(wide.high, x[-1])
    low, high = min(low, found.value), max(high, found.value)
    interval = Interval(*(float(np.exp(v)) for v in (found.value, low, high)))
    best = found.best
    return Optimum(batch_size, interval, kind, draws, float(lr[best]), float(means[best]), seeds)


def _means(table: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(cells,): weighted means over the seeds that a cell has; NaN without any."""
    known = np.isfinite(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, table, 0.0) @ drawn / (known @ drawn)


def _draws(x: np.ndarray, table: np.ndarray, stream: int) -> tuple[np.ndarray, float]:
    """log η of the optimum in each draw, and the share of draws in which it is at the edge.

    Where it is only bracketed, the draws spread evenly between the best cell's neighbours; so they
    do with a single seed, which tells no noise, and in half of the draws where the fit has too few
    cells to tell how skewed the curve is. Where a bracket holds the optimum at one S may be where
    it does at another, or not: half of the draws are common to all S.
    """
    seeds = weights(table.shape[1], _DRAWS, stream=3)
    cells = weights(len(x), _DRAWS, stream=4)
    even = (np.arange(_DRAWS) + 0.5) / _DRAWS
    common = np.random.default_rng(_SEED).permutation(even)
    own = np.random.default_rng((_SEED, stream)).permutation(even)
    single = np.isfinite(table).sum(axis=1).max() < 2
    found, edges = np.empty(_DRAWS), 0
    for i in range(_DRAWS):
        peak = _peak(x, _means(table, seeds[i]), cells[i])
        edges += peak.kind is Kind.EDGE
        found[i] = peak.value
        if single or peak.cells < 3 or (peak.cells < _MANY and i % 4 < 2):
            left, right = x[max(peak.best - 1, 0)], x[min(peak.best + 1, len(x) - 1)]
            found[i] = left + (common if i % 2 else own)[i] * (right - left)
    return found, edges / _DRAWS


@dataclass(frozen=True)
class _Peak:
    value: float
    kind: Kind
    best: int
    cells: int = 0


def _peak(x: np.ndarray, means: np.ndarray, drawn: np.ndarray | None = None) -> _Peak:
    """log η of the optimum, how it is known, the best cell, and how many cells the fit has;
    ``drawn``: the cells' weights."""
    best = int(np.nanargmax(means))
    if best in (0, len(x) - 1):
        return _Peak(float(x[best]), Kind.EDGE, best, _MANY)
    good = means >= means[best] - DROP
    first = best - int(np.argmin([*good[:best][::-1], False]))
    last = best + int(np.argmin([*good[best + 1 :], False]))
    bracketed = _Peak(float(x[best]), Kind.BRACKETED, best)
    if first == best or last == best:
        return bracketed
    inside = slice(first, last + 1)
    weight = drawn[inside] if drawn is not None else np.ones(last + 1 - first)
    vertex = _top(x[inside] - x[best], means[inside], weight)
    if vertex is None:
        return bracketed
    return _Peak(float(x[best] + vertex), Kind.FITTED, best, len(weight))


def _top(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float | None:
    """Where the fitted polynomial is highest: a cubic where five cells or more tell how skewed the
    curve is and it has its maximum among them; else a quadratic; None where that has none."""
    if len(x) >= _MANY:
        _, b, c, d = _polynomial(x, y, weight, 3)
        inner = c**2 - 3 * d * b
        top = -b / (c - math.sqrt(inner)) if inner > 0 and c < 0 else math.inf
        if x[0] <= top <= x[-1]:
            return float(top)
    _, b, c = _polynomial(x, y, weight, 2)
    return float(np.clip(-b / (2 * c), x[0], x[-1])) if c < 0 else None


def _polynomial(x: np.ndarray, y: np.ndarray, weight: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients, constant first, of weighted least squares."""
    powers = x[:, None] ** np.arange(degree + 1)
    return np.linalg.solve((powers.T * weight) @ powers, (powers.T * weight) @ y)
