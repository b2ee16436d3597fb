"""One power law, fitted: exponents with intervals, and how well it predicts."""

import math
from dataclasses import dataclass, field

import numpy as np

from analysis import bootstrap
from analysis.crossed import (
    MIN_SEEDS,
    UNKNOWN,
    Crossing,
    Estimate,
    Interval,
    Variance,
    estimate,
    least_squares,
)
from analysis.forms import MIN_DOF, Form, design, varying


@dataclass(frozen=True, eq=False)
class Law:
    """One fitted form. ``exponents``: a and b as they stand in ``formula``; ``covariates``: the
    slope per unit of each noise that varies, at the grid's centre. ``spread``: residual sd between
    cells; ``left_out``: error of each cell predicted without it, ``loo`` their root mean square;
    all on the scale of y. ``p_zero``: that all exponents vanish. ``resampled``: the exponents'
    bootstrap intervals, with five seeds or more. Unidentified: exponents are NaN, ``beta`` None."""

    name: str
    formula: str
    exponents: dict[str, Interval]
    covariates: dict[str, Interval]
    spread: float = math.nan
    loo: float = math.nan
    aicc: float = math.nan
    p_zero: float = math.nan
    beta: np.ndarray | None = None
    variance: Variance | None = None
    left_out: np.ndarray = field(default_factory=lambda: np.zeros(0))
    resampled: dict[str, Interval] = field(default_factory=dict)


def law(table: Crossing, name: str, form: Form, effective: bool, resample: bool = False) -> Law:
    """Fits ``form`` to the cell means of ``table``."""
    cells, count = table.cells, len(form.names)
    unknown = Law(name, form.formula, dict.fromkeys(form.names, UNKNOWN), {})
    if not len(cells):
        return unknown
    rows = design(cells, cells, effective, form)
    rank = int(np.linalg.matrix_rank(rows))
    base = int(np.linalg.matrix_rank(rows[:, :-count]))
    if rank - base < count or len(cells) - rank < MIN_DOF:
        return unknown
    beta, variance = least_squares(rows, table.table)
    noises, unit = varying(cells), np.eye(len(beta))
    first = len(beta) - count
    at = {noise: first - len(noises) + i for i, noise in enumerate(noises)}
    scores = scored(rows, table.means)
    found = resampled(table, rows, unit[first:], variance) if resample else ()
    return Law(
        name,
        form.formula,
        {n: variance.interval(float(beta[i]), unit[i]) for i, n in enumerate(form.names, first)},
        {n: variance.interval(float(beta[i]), unit[i]) for n, i in at.items()},
        scores.spread,
        scores.loo,
        scores.aicc,
        variance.p_zero(beta, list(range(first, len(beta)))),
        beta,
        variance,
        scores.left_out,
        dict(zip(form.names, found, strict=False)),
    )


def resampled(
    table: Crossing, rows: np.ndarray, combinations: np.ndarray, variance: Variance
) -> tuple[Interval, ...]:
    """Bootstrap intervals of ``combinations`` (m, p); none below five seeds."""
    if table.table.shape[1] < MIN_SEEDS:
        return ()
    return bootstrap.intervals(rows, table.table, combinations, variance)


def total(table: Crossing, free: Law, form: Form, effective: bool, resample: bool) -> Estimate:
    """a + b of the free law."""
    if free.beta is None or free.variance is None:
        return Estimate()
    both = np.zeros(len(free.beta))
    both[-2:] = 1.0
    found: tuple[Interval, ...] = ()
    if resample:
        rows = design(table.cells, table.cells, effective, form)
        found = resampled(table, rows, both[None], free.variance)
    return estimate(float(both @ free.beta), free.variance, both, next(iter(found), None))


@dataclass(frozen=True)
class Scores:
    """Residual sd, error of each cell predicted without it (NaN where that cannot be) and their
    root mean square, AICc (Gaussian; the variance is a parameter too); NaN where the cells do not
    suffice."""

    spread: float
    left_out: np.ndarray
    loo: float
    aicc: float


def scored(rows: np.ndarray, y: np.ndarray) -> Scores:
    """How well least squares on ``rows`` describes ``y``, and predicts it."""
    inverse = np.linalg.pinv(rows)
    residual = y - rows @ (inverse @ y)
    slack = 1 - np.einsum("ci,ic->c", rows, inverse)
    rank, n = int(np.linalg.matrix_rank(rows)), len(y)
    square = float(residual @ residual)
    left_out = np.divide(residual, slack, out=np.full(n, np.nan), where=slack > 1e-9)
    known = np.isfinite(left_out)
    loo = float(np.sqrt(np.mean(left_out[known] ** 2))) if known.any() else math.nan
    spread = math.sqrt(square / (n - rank)) if n > rank else math.nan
    k = rank + 1
    if n - k - 1 < 1:
        return Scores(spread, left_out, loo, math.nan)
    aicc = n * math.log(max(square / n, 1e-300)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return Scores(spread, left_out, loo, aicc)
