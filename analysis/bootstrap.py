"""Intervals with few assumptions: cells and seeds are reweighted, both as wholes.

Each draw gives every cell and every seed a weight of its own, Exp(1), and a run the product of the
two (Owen & Eckles 2012, Annals of Applied Statistics 6): no residual needs to be normal or equally
wide. With few seeds plain percentiles are too narrow; they are taken further out, by Student's t
at the fit's degrees of freedom (the expanded percentiles of Hesterberg 2015, American Statistician
69). Deterministic: the draws are the same in every analysis.
"""

from collections.abc import Iterator

import numpy as np

from analysis.crossed import Interval, Variance

DRAWS = 2000
_SEED = 20122015
_CHUNK = 4_000_000


def intervals(
    design: np.ndarray,
    table: np.ndarray,
    combinations: np.ndarray,
    variance: Variance,
    groups: np.ndarray | None = None,
) -> tuple[Interval, ...]:
    """95 % intervals of the rows of ``combinations`` (m, p) of the coefficients of ``table``
    (cells, seeds) on ``design`` (cells, p), with an intercept each for ``groups``, if given.

    ``variance``: of the same fit; its degrees of freedom expand the percentiles.
    """
    found = combinations @ _coefficients(design, table, groups).T
    middle = combinations @ _fitted(design, table.mean(1), np.ones((1, len(table))), groups)[0]
    return tuple(
        expanded(row, float(value), dof)
        for row, value, dof in zip(found, middle, variance.dof(combinations), strict=True)
    )


def expanded(draws: np.ndarray, value: float, dof: float) -> Interval:
    """The interval of ``value`` from bootstrap ``draws``: percentiles at the level that makes a
    normal statistic's interval the t-interval at ``dof``."""
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(-np.sqrt((dof + 1) / dof) * stdtrit(dof, 0.975)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def weights(count: int, draws: int = DRAWS, stream: int = 0) -> np.ndarray:
    """(draws, count): exponential weights, each draw's mean 1; the same at every call."""
    drawn = np.random.default_rng((_SEED, stream)).standard_exponential((draws, count))
    return drawn / drawn.mean(axis=1, keepdims=True)


def _coefficients(design: np.ndarray, table: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(draws, p): the coefficients of every draw."""
    of_seeds = weights(table.shape[1], stream=1)
    means = of_seeds @ table.T / table.shape[1]
    of_cells = np.random.default_rng((_SEED, 0))
    found = []
    for part in _chunks(len(means), table.shape[0] * (design.shape[1] + 1)):
        drawn = of_cells.standard_exponential((part.stop - part.start, table.shape[0]))
        found.append(_fitted(design, means[part], drawn, groups))
    return np.concatenate(found)


def _chunks(draws: int, width: int) -> Iterator[slice]:
    size = max(1, min(draws, _CHUNK // max(width, 1)))
    return (slice(start, min(start + size, draws)) for start in range(0, draws, size))


def _fitted(
    design: np.ndarray, means: np.ndarray, drawn: np.ndarray, groups: np.ndarray | None
) -> np.ndarray:
    """(draws, p): weighted least squares of each draw's ``means`` (draws or none, cells)."""
    y = np.broadcast_to(means, drawn.shape)
    n, p = design.shape
    if groups is None:
        squares = drawn @ (design[:, :, None] * design[:, None]).reshape(n, -1)
        products = (drawn * y) @ design
        gram = squares.reshape(-1, p, p)
    else:
        x, y = _within(design, y, drawn, groups)
        gram = np.einsum("bn,bnp,bnq->bpq", drawn, x, x)
        products = np.einsum("bn,bnp,bn->bp", drawn, x, y)
    return (np.linalg.pinv(gram, hermitian=True) @ products[..., None])[..., 0]


def _within(
    design: np.ndarray, y: np.ndarray, drawn: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(draws, cells, p) and (draws, cells): about the weighted means of their groups."""
    _, place = np.unique(groups, return_inverse=True)
    member = np.eye(place.max() + 1)[place]
    total = drawn @ member
    of_y = (drawn * y) @ member / total
    of_x = np.stack([(drawn * column) @ member / total for column in design.T], axis=2)
    return design[None] - of_x[:, place], y - of_y[:, place]
