"""Cells × seeds: the table of a metric, its missing entries, and the variance of a linear fit.

The same seed starts every cell with the same weights and the same order of draws, so seeds are a
factor crossed with cells, not noise inside them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MIN_SEEDS = 5
_OBSERVED = 0.8
_SWEEPS = 200


@dataclass(frozen=True)
class Interval:
    """A 95 % interval around ``value``; NaN where there is nothing to base one on."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    def holds(self, x: float) -> bool:
        """Whether ``x`` lies inside."""
        return self.low <= x <= self.high


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Crossing:
    """``table``: (cells, seeds), completed where runs are missing. ``crossed``: whether at least
    80 % of it was observed; if not (each cell has seeds of its own), ``table`` has one column,
    the cells' means. ``seeds`` and ``observed`` count before that."""

    cells: pd.DataFrame
    table: np.ndarray
    crossed: bool
    seeds: int
    observed: int

    @property
    def means(self) -> np.ndarray:
        """One value a cell, missing seeds allowed for."""
        return self.table.mean(axis=1) if len(self.table) else np.zeros(0)


def crossing(frame: pd.DataFrame) -> Crossing:
    """The frame of ``Points`` as cells × seeds of ``y``; cells in order of η, then S."""
    if frame.empty:
        return Crossing(frame, np.zeros((0, 1)), True, 0, 0)
    wide = frame.pivot_table(index="cell", columns="seed", values="y", aggfunc="mean", sort=True)
    cells = frame.drop_duplicates("cell").set_index("cell").loc[wide.index].reset_index()
    table = wide.to_numpy(float)
    seen = int(np.isfinite(table).sum())
    crossed = table.shape[1] == 1 or seen >= _OBSERVED * table.size
    full = complete(table) if crossed else np.nanmean(table, axis=1, keepdims=True)
    return Crossing(cells, full, crossed, table.shape[1], seen)


def complete(table: np.ndarray) -> np.ndarray:
    """Fills missing entries by cell effect + seed effect (Healy & Westmacott 1956).

    The row means are then the least-squares cell effects of the additive two-way model: a cell
    that lost a seed is not shifted by that seed's effect. Every row and column needs one entry.
    """
    missing = ~np.isfinite(table)
    filled = np.where(missing, np.nanmean(table), table)
    if not missing.any():
        return filled
    for _ in range(_SWEEPS):
        rows, columns = filled.mean(1, keepdims=True), filled.mean(0, keepdims=True)
        update = np.where(missing, rows + columns - filled.mean(), table)
        if np.allclose(update, filled, rtol=0, atol=1e-12):
            break
        filled = update
    return filled


@dataclass(frozen=True)
class Variance:
    """Covariance of the coefficients in two parts: from ``cells`` (lack of fit) and ``seeds``."""

    cells: np.ndarray
    seeds: np.ndarray
    cell_dof: int
    seed_dof: int

    @property
    def total(self) -> np.ndarray:
        """(p, p)."""
        return self.cells + self.seeds

    def interval(self, value: float, combination: np.ndarray) -> Interval:
        """95 % interval of ``combination · coefficients``: Student's t at Satterthwaite's degrees
        of freedom of the two parts."""
        half = float(self.half_width(combination[None])[0])
        return Interval(value, value - half, value + half)

    def half_width(self, combinations: np.ndarray) -> np.ndarray:
        """Half widths of the 95 % intervals of the rows of ``combinations`` (m, p)."""
        from scipy.special import stdtrit

        of_cells, of_seeds = self._parts(combinations)
        total = of_cells + of_seeds
        return stdtrit(self._dof(of_cells, of_seeds), 0.975) * np.sqrt(total)

    def p_zero(self, coefficients: np.ndarray, which: list[int]) -> float:
        """p-value of the Wald test that all coefficients ``which`` vanish: F at the smallest
        degrees of freedom among them."""
        from scipy.special import fdtrc

        beta, covariance = coefficients[which], self.total[np.ix_(which, which)]
        if not np.isfinite(covariance).all() or np.linalg.matrix_rank(covariance) < len(which):
            return 0.0 if np.isfinite(beta).all() and np.abs(beta).max() > 0 else 1.0
        wald = float(beta @ np.linalg.solve(covariance, beta)) / len(which)
        dof = float(self._dof(*self._parts(np.eye(len(coefficients))[which])).min())
        return float(fdtrc(len(which), dof, wald))

    def seed_share(self, combination: np.ndarray) -> float:
        """The seeds' share of the variance of ``combination · coefficients``."""
        of_cells, of_seeds = (part[0] for part in self._parts(combination[None]))
        return float(of_seeds / (of_cells + of_seeds)) if of_cells + of_seeds > 0 else 0.0

    def _parts(self, combinations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            np.maximum(np.einsum("mi,ij,mj->m", combinations, part, combinations), 0.0)
            for part in (self.cells, self.seeds)
        )

    def _dof(self, of_cells: np.ndarray, of_seeds: np.ndarray) -> np.ndarray:
        weight = of_cells**2 / self.cell_dof + of_seeds**2 / max(self.seed_dof, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight > 0, (of_cells + of_seeds) ** 2 / weight, self.cell_dof)


def least_squares(design: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, Variance]:
    """Coefficients of cell means on ``design`` (cells, p), and their variance.

    Cells: HC3, which holds its level when large-S cells scatter more than others. With five seeds
    or more each seed gets a fit of its own; the variance of their mean is added, and the cells'
    part is freed of the seed × cell noise that it also contains:
    V = S_seeds / K + P diag(f r² / (1 − h)²) Pᵀ, f = max(0, 1 − s²_interaction / (K s²_means)).
    """
    inverse = np.linalg.pinv(design)
    leverage = np.einsum("ci,ic->c", design, inverse)
    coefficients = inverse @ table
    beta, means = coefficients.mean(1), table.mean(1)
    rank = int(np.linalg.matrix_rank(design))
    dof, count = len(design) - rank, table.shape[1]
    residual = means - design @ beta
    slack = 1 - leverage
    scaled = np.divide(residual, slack, out=np.zeros_like(residual), where=slack > 1e-9)
    of_cells, of_seeds = (inverse * scaled**2) @ inverse.T, np.zeros((len(beta), len(beta)))
    if count >= MIN_SEEDS:
        of_seeds = np.cov(coefficients).reshape(len(beta), len(beta)) / count
        noise = table - design @ coefficients
        noise = noise - noise.mean(1, keepdims=True)
        interaction = float((noise**2).sum()) / (dof * (count - 1)) / count
        total = float(residual @ residual) / dof
        of_cells = of_cells * (max(0.0, 1 - interaction / total) if total > 0 else 0.0)
    return beta, Variance(of_cells, of_seeds, dof, count - 1)


def method(crossing: Crossing) -> str:
    """How the intervals of ``least_squares`` come about, in words."""
    if crossing.crossed and crossing.seeds >= MIN_SEEDS:
        return (
            "t interval, seeds crossed with cells (variance between seeds, plus HC3 between cells "
            "freed of seed noise; Satterthwaite)"
        )
    return "t interval over cell means (HC3); the seeds count as given"
