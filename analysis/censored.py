"""A law for times that were not all seen: log T = c + a·log η + b·log S + σ·ε, ε normal.

A run that did not get there by its last step has a time above that step's; it is in the likelihood
as such, never left out, and a time known to lie between two is in it as that. Maximum likelihood
(the accelerated failure time model); log-concave in (β/σ, 1/σ), so that Newton's method finds it.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.crossed import MIN_SEEDS, Interval

_STEPS = 100
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class Likelihood:
    """``beta`` (p,) and ``sigma`` of log T, the log-likelihood, and in the parameters (β/σ, 1/σ)
    the score of each row (n, p + 1) and its information (n, p + 1, p + 1)."""

    beta: np.ndarray
    sigma: float
    value: float
    scores: np.ndarray
    information: np.ndarray


def maximise(
    design: np.ndarray, low: np.ndarray, high: np.ndarray, least: float = 1e-3
) -> Likelihood | None:
    """The likelihood's maximum for log times within [``low``, ``high``] (n,), equal where a time is
    known, ``high`` infinite where it is censored. None where there is none: too few known times, or
    times that lie on a line (σ below ``least``)."""
    p = design.shape[1]
    start = np.where(np.isfinite(high), high, low)
    start = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, start)
    if np.linalg.matrix_rank(design) < p or (np.isfinite(low) & np.isfinite(high)).sum() <= p:
        return None
    beta = np.linalg.lstsq(design, start, rcond=None)[0]
    sigma = max(float(np.std(start - design @ beta)), 10 * least)
    theta = np.append(beta, 1.0) / sigma
    value, scores, information = terms(design, low, high, theta)
    for _ in range(_STEPS):
        try:
            step = np.linalg.solve(information.sum(0), scores.sum(0))
        except np.linalg.LinAlgError:
            return None
        share = 1.0
        while share > 1e-8:
            tried = theta + share * step
            if tried[-1] > 0 and (found := terms(design, low, high, tried))[0] >= value:
                break
            share /= 2
        else:
            break
        theta, gained = tried, found[0] - value
        value, scores, information = found
        if gained < _FLAT * (1 + abs(value)) and np.abs(share * step).max() < 1e-7 * theta[-1]:
            break
        if theta[-1] > 1 / least:
            return None
    return Likelihood(theta[:-1] / theta[-1], 1 / theta[-1], value, scores, information)


def terms(
    design: np.ndarray, low: np.ndarray, high: np.ndarray, theta: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-likelihood, scores and information by row at θ = (β/σ, 1/σ)."""
    from scipy.special import log_ndtr

    n, p = design.shape
    exact = low == high
    mean, inverse = design @ theta[:-1], theta[-1]
    scores, information = np.zeros((n, p + 1)), np.zeros((n, p + 1, p + 1))
    # exact: log(1/σ) − z²/2, z = y/σ − xβ/σ
    rows = np.column_stack([-design[exact], low[exact]])
    z = rows @ theta
    value = float(np.sum(math.log(inverse) - z**2 / 2 - math.log(2 * math.pi) / 2)) if len(z) else 0
    scores[exact] = -z[:, None] * rows
    scores[exact, -1] += 1 / inverse
    information[exact] = rows[:, :, None] * rows[:, None]
    information[exact, -1, -1] += 1 / inverse**2
    # between: log(Φ(u) − Φ(l))
    some = ~exact
    if some.any():
        ends, rows = [], []
        for border in (low[some], high[some]):
            known = np.isfinite(border)
            ends.append(np.where(known, np.where(known, border, 0) * inverse - mean[some], border))
            rows.append(np.column_stack([-design[some] * known[:, None],
                                         np.where(known, border, 0)]))
        lower, upper = ends
        flip = lower > 0  # the tail in which the difference is accurate
        a, b = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
        top, bottom = log_ndtr(b), log_ndtr(a)
        inside = top + np.log1p(-np.exp(np.minimum(bottom - top, -1e-300)))
        value += float(inside.sum())
        # A trial step of the maximiser may lead so far into a tail that the exponent is lost to
        # rounding and derivatives overflow: its likelihood is so low that the step is halved.
        with np.errstate(over="ignore", invalid="ignore"):
            at = [np.where(np.isfinite(e), np.exp(-np.where(np.isfinite(e), e, 0) ** 2 / 2 - inside)
                           / math.sqrt(2 * math.pi), 0.0) for e in ends]
            slope = at[1][:, None] * rows[1] - at[0][:, None] * rows[0]
            bend = [np.where(np.isfinite(e), np.where(np.isfinite(e), e, 0) * w, 0.0)
                    for e, w in zip(ends, at, strict=True)]
            outer = [r[:, :, None] * r[:, None] for r in rows]
            scores[some] = slope
            information[some] = (slope[:, :, None] * slope[:, None]
                                 + bend[1][:, None, None] * outer[1]
                                 - bend[0][:, None, None] * outer[0])
    return value, scores, information


@dataclass(frozen=True, eq=False)
class Spread:
    """Covariance of (β/σ, 1/σ) by clusters, and degrees of freedom."""

    covariance: np.ndarray
    dof: int

    def interval(self, fit: Likelihood, combination: np.ndarray) -> Interval:
        """95 % interval of ``combination · β``, by the delta method."""
        from scipy.special import stdtrit

        value = float(combination @ fit.beta)
        gradient = fit.sigma * np.append(combination, -value)
        half = float(stdtrit(self.dof, 0.975) * math.sqrt(gradient @ self.covariance @ gradient))
        return Interval(value, value - half, value + half)

    def of_beta(self, fit: Likelihood) -> np.ndarray:
        """Covariance of β, by the delta method."""
        gradient = fit.sigma * np.column_stack([np.eye(len(fit.beta)), -fit.beta])
        return gradient @ self.covariance @ gradient.T


def clustered(fit: Likelihood, cells: np.ndarray, seeds: np.ndarray) -> Spread:
    """The jackknife over cells, by one Newton step each: V = (G − 1)/G Σ (θ₋g − θ)², of which a
    cell's runs may depend on each other in any way. From five seeds on that over seeds is added,
    less that over runs, which both contain (Cameron, Gelbach & Miller 2011)."""
    of_cells, count = _jackknife(fit, cells)
    dof = max(count - len(fit.beta), 1)
    of_seeds, seed_count = _jackknife(fit, seeds)
    if seed_count < MIN_SEEDS:
        return Spread(of_cells, dof)
    of_runs, _ = _jackknife(fit, np.arange(len(cells)))
    both = of_cells + of_seeds - of_runs
    least = of_cells if np.trace(of_cells) > np.trace(of_seeds) else of_seeds
    values, vectors = np.linalg.eigh(both)
    if values.min() <= 0:
        both = (vectors * np.maximum(values, 0)) @ vectors.T
    if np.trace(both) < np.trace(least):
        both = least
    share = np.trace(of_seeds) / max(np.trace(of_seeds) + np.trace(of_cells), 1e-300)
    return Spread(both, round((1 - share) * dof + share * (seed_count - 1)))


def _jackknife(fit: Likelihood, groups: np.ndarray) -> tuple[np.ndarray, int]:
    names, place = np.unique(groups, return_inverse=True)
    size, width = len(names), fit.scores.shape[1]
    score, information = np.zeros((size, width)), np.zeros((size, width, width))
    np.add.at(score, place, fit.scores)
    np.add.at(information, place, fit.information)
    rest = fit.information.sum(0) - information
    away = np.linalg.pinv(rest, hermitian=True) @ score[..., None]
    return (size - 1) / size * np.einsum("gp,gq->pq", away[..., 0], away[..., 0]), size
