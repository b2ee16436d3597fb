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
    """Covariance of θ = (β/σ, 1/σ): by cells alone, and by cells and seeds.

    ``parts`` (cells, p + 1, p + 1): what each cell would add to it by its information alone.
    ``by_seeds``: by seeds alone, of which there are ``seeds``; 0 where they are too few.
    """

    by_cells: np.ndarray
    by_seeds: np.ndarray
    crossed: np.ndarray
    parts: np.ndarray
    seeds: int

    def dof(self, gradient: np.ndarray) -> float:
        """Degrees of freedom of the variance of ``gradient · θ``: the effective number of cells,
        (Σ v)² / Σ v² of their parts v (Carter, Schnepel & Steigerwald 2017), since a cell at the
        end of the grid weighs more and one whose runs are all censored next to nothing, at most
        what β leaves of the cells; as far as the variance is by seeds, seeds − 1 if that is
        fewer."""
        parts = np.einsum("p,gpq,q->g", gradient, self.parts, gradient)
        cells = min(float(parts.sum() ** 2 / np.sum(parts**2)), len(parts) - len(gradient) + 1)
        by = [float(gradient @ v @ gradient) for v in (self.by_cells, self.by_seeds)]
        share = by[1] / max(sum(by), 1e-300)
        return (1 - share) * max(cells, 1.0) + share * min(max(cells, 1.0), self.seeds - 1)

    def variance(self, gradient: np.ndarray) -> float:
        """Of ``gradient · θ``: never below that by cells alone, for the difference of three
        estimates may by chance be."""
        return max(float(gradient @ v @ gradient) for v in (self.by_cells, self.crossed))

    def interval(self, fit: Likelihood, combination: np.ndarray) -> Interval:
        """95 % interval of ``combination · β``, by the delta method."""
        from scipy.special import stdtrit

        value = float(combination @ fit.beta)
        gradient = fit.sigma * np.append(combination, -value)
        half = float(stdtrit(self.dof(gradient), 0.975)
                     * math.sqrt(self.variance(gradient)))
        return Interval(value, value - half, value + half)

    def p_of_none(self, fit: Likelihood, first: int) -> float:
        """The p-value of no dependence: β from ``first`` on is 0 (Wald), with the fewest degrees of
        freedom of its components."""
        from scipy.special import fdtrc

        gradient = fit.sigma * np.column_stack([np.eye(len(fit.beta)), -fit.beta])[first:]
        beta, size = fit.beta[first:], len(fit.beta) - first
        wald = min(float(beta @ np.linalg.pinv(gradient @ v @ gradient.T) @ beta) / size
                   for v in (self.by_cells, self.crossed))
        return float(fdtrc(size, min(self.dof(row) for row in gradient), wald))


def clustered(fit: Likelihood, cells: np.ndarray, seeds: np.ndarray) -> Spread:
    """The sandwich by cells, of which a cell's runs may depend on each other in any way, each
    cell's score adjusted for its leverage (HC2; Bell & McCaffrey 2002). From five seeds on that
    by seeds is added, less that by runs, which both contain (Cameron, Gelbach & Miller 2011)."""
    total = fit.information.sum(0)
    values, vectors = np.linalg.eigh(total)
    root = (vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))) @ vectors.T
    of_cells, information = _sandwich(fit, cells, root)
    parts = root @ root @ information @ root @ root
    of_seeds, by_seed = _sandwich(fit, seeds, root)
    if len(by_seed) < MIN_SEEDS:
        return Spread(of_cells, 0 * of_cells, of_cells, parts, len(by_seed))
    of_runs, _ = _sandwich(fit, np.arange(len(cells)), root)
    values, vectors = np.linalg.eigh(of_cells + of_seeds - of_runs)
    crossed = (vectors * np.maximum(values, 0)) @ vectors.T
    return Spread(of_cells, of_seeds, crossed, parts, len(by_seed))


def _sandwich(
    fit: Likelihood, groups: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The covariance by groups, and their information. ``root``: the total's to the power −½."""
    names, place = np.unique(groups, return_inverse=True)
    size, width = len(names), fit.scores.shape[1]
    score, information = np.zeros((size, width)), np.zeros((size, width, width))
    np.add.at(score, place, fit.scores)
    np.add.at(information, place, fit.information)
    leverage, axes = np.linalg.eigh(root @ information @ root)
    scale = 1 / np.sqrt(np.maximum(1 - leverage, 1e-3))
    turned = np.einsum("gpq,gp->gq", axes, score @ root) * scale
    moved = np.einsum("gpq,gq->gp", axes, turned) @ root
    return moved.T @ moved, information
