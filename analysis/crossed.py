"""Cells × seeds: the table of a metric, its missing entries, and the variance of a linear fit.

The same seed starts every cell with the same weights and the same order of draws, so seeds are a
factor crossed with cells, not noise inside them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MIN_SEEDS = 5
TINY = 1e-9
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


def over_seeds(values: np.ndarray) -> Interval:
    """Mean of one value a seed and its t interval; its ends are NaN with a single seed."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Crossing:
    """``table``: (cells, seeds), completed where runs are missing. ``crossed``: whether at least
    80 % of it was observed; if not (each cell has seeds of its own), ``table`` has one column,
    the cells' means. ``seeds`` and ``observed`` count before that. ``raw``: (cells, seeds), NaN
    where a run is missing."""

    cells: pd.DataFrame
    table: np.ndarray
    crossed: bool
    seeds: int
    observed: int
    raw: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """One value a cell, missing seeds allowed for."""
        return self.table.mean(axis=1) if len(self.table) else np.zeros(0)


def crossing(frame: pd.DataFrame) -> Crossing:
    """The frame of ``Points`` as cells × seeds of ``y``; cells in order of η, then S."""
    if frame.empty:
        return Crossing(frame, np.zeros((0, 1)), True, 0, 0, np.zeros((0, 0)))
    wide = frame.pivot_table(index="cell", columns="seed", values="y", aggfunc="mean", sort=True)
    cells = frame.drop_duplicates("cell").set_index("cell").loc[wide.index].reset_index()
    table = wide.to_numpy(float)
    seen = int(np.isfinite(table).sum())
    crossed = is_crossed(table)
    full = complete(table) if crossed else np.nanmean(table, axis=1, keepdims=True)
    return Crossing(cells, full, crossed, table.shape[1], seen, table)


def is_crossed(table: np.ndarray) -> bool:
    """Whether at least 80 % of (cells, seeds) was observed; a single seed always counts."""
    return table.shape[1] == 1 or np.isfinite(table).sum() >= _OBSERVED * table.size


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


@dataclass(frozen=True, eq=False)
class Residuals:
    """What the degrees of freedom of a robust variance depend on: ``influence`` (p, n) of each cell
    on the coefficients, ``slack`` (n,) = 1 − leverage, an orthonormal ``basis`` (n, r) of the
    columns, and each cell's place among the absorbed ``groups``, if any."""

    influence: np.ndarray
    slack: np.ndarray
    basis: np.ndarray
    groups: np.ndarray | None

    def dof(self, combinations: np.ndarray) -> np.ndarray:
        """Degrees of freedom of the HC2 variance of each of ``combinations`` (m, p), if the cells
        scatter alike (Bell & McCaffrey 2002): (tr DM)² / tr DMDM with D = diag(l²/(1 − h)), l the
        cells' influence and M what least squares leaves. Cost O(m n r²): M is never formed."""
        squares = (combinations @ self.influence) ** 2
        weight = np.divide(squares, self.slack, out=np.zeros_like(squares), where=self.slack > TINY)
        crossed = np.einsum("mn,nr,ns->mrs", weight, self.basis, self.basis, optimize=True)
        bottom = (weight**2 * (2 * self.slack - 1)).sum(1) + (crossed**2).sum((1, 2))
        if self.groups is not None:
            sizes = np.bincount(self.groups).astype(float)
            member = np.eye(len(sizes))[self.groups] / np.sqrt(sizes)
            own = weight @ (member**2)
            mixed = np.einsum("mn,ng,nr->mgr", weight, member, self.basis, optimize=True)
            bottom += (own**2).sum(1) + 2 * (mixed**2).sum((1, 2))
        top = np.where(self.slack > TINY, squares, 0.0).sum(1) ** 2
        return np.divide(top, bottom, out=np.ones_like(top), where=bottom > 0)


@dataclass(frozen=True)
class Variance:
    """Covariance of the coefficients in two parts: from ``cells`` (lack of fit) and ``seeds``."""

    cells: np.ndarray
    seeds: np.ndarray
    residuals: Residuals
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

        total = sum(self._parts(combinations))
        return stdtrit(self.dof(combinations), 0.975) * np.sqrt(total)

    def p_zero(self, coefficients: np.ndarray, which: list[int]) -> float:
        """p-value of the Wald test that all coefficients ``which`` vanish: F at the smallest
        degrees of freedom among them."""
        from scipy.special import fdtrc

        beta, covariance = coefficients[which], self.total[np.ix_(which, which)]
        if not np.isfinite(covariance).all() or np.linalg.matrix_rank(covariance) < len(which):
            return 0.0 if np.isfinite(beta).all() and np.abs(beta).max() > 0 else 1.0
        wald = float(beta @ np.linalg.solve(covariance, beta)) / len(which)
        dof = float(self.dof(np.eye(len(coefficients))[which]).min())
        return float(fdtrc(len(which), dof, wald))

    def dof(self, combinations: np.ndarray) -> np.ndarray:
        """Satterthwaite's degrees of freedom of the rows of ``combinations`` (m, p)."""
        of_cells, of_seeds = self._parts(combinations)
        cell_dof = self.residuals.dof(combinations)
        weight = of_cells**2 / cell_dof + of_seeds**2 / max(self.seed_dof, 1)
        square = (of_cells + of_seeds) ** 2
        return np.divide(square, weight, out=cell_dof.copy(), where=weight > 0)

    def parts(self, combination: np.ndarray) -> tuple[float, float]:
        """The variance of ``combination · coefficients`` between cells, and between seeds."""
        of_cells, of_seeds = self._parts(combination[None])
        return float(of_cells[0]), float(of_seeds[0])

    def _parts(self, combinations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            np.maximum(np.einsum("mi,ij,mj->m", combinations, part, combinations), 0.0)
            for part in (self.cells, self.seeds)
        )


@dataclass(frozen=True)
class Estimate:
    """A combination of coefficients: its t interval, that of the bootstrap (None below five
    seeds), and the two parts of its variance with the degrees of freedom of the cells'."""

    interval: Interval = UNKNOWN
    resampled: Interval | None = None
    of_cells: float = float("nan")
    of_seeds: float = float("nan")
    cell_dof: float = float("nan")

    @property
    def seed_share(self) -> float:
        """The seeds' share of the variance; 0 where there is none."""
        total = self.of_cells + self.of_seeds
        return self.of_seeds / total if total > 0 else 0.0


def estimate(
    value: float, variance: Variance, combination: np.ndarray, resampled: Interval | None = None
) -> Estimate:
    """The estimate ``value`` of ``combination · coefficients``."""
    parts = variance.parts(combination)
    dof = float(variance.residuals.dof(combination[None])[0])
    return Estimate(variance.interval(value, combination), resampled, *parts, dof)


def least_squares(
    design: np.ndarray, table: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, Variance]:
    """Coefficients of cell means on ``design`` (cells, p), and their variance.

    Cells: HC2, which holds its level when large-S cells scatter more than others. With five seeds
    or more each seed gets a fit of its own; the variance of their mean is added, and the cells'
    part is freed of the seed × cell noise that it also contains:
    V = S_seeds / K + P diag(f r² / (1 − h)) Pᵀ, f = max(0, 1 − s²_interaction / (K s²_means)).
    ``groups``: cells of the same one share an intercept that is not among the coefficients
    (absorbed, Frisch-Waugh-Lovell: the cost does not grow with the number of groups).
    """
    given, absorbed, place = np.zeros(len(design)), 0, None
    if groups is not None:
        names, place = np.unique(groups, return_inverse=True)
        sizes, design = about_means(design, groups)
        table = about_means(table, groups)[1]
        given, absorbed = 1 / sizes, len(names)
    inverse = np.linalg.pinv(design)
    leverage = np.einsum("ci,ic->c", design, inverse) + given
    coefficients = inverse @ table
    beta, means = coefficients.mean(1), table.mean(1)
    basis, singular, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, singular > singular.max() * len(design) * np.finfo(float).eps]
    rank = basis.shape[1] + absorbed
    dof, count = len(design) - rank, table.shape[1]
    residual = means - design @ beta
    slack = 1 - leverage
    square = np.divide(residual**2, slack, out=np.zeros_like(residual), where=slack > TINY)
    of_cells, of_seeds = (inverse * square) @ inverse.T, np.zeros((len(beta), len(beta)))
    if count >= MIN_SEEDS:
        of_seeds = np.cov(coefficients).reshape(len(beta), len(beta)) / count
        noise = table - design @ coefficients
        noise = noise - noise.mean(1, keepdims=True)
        interaction = float((noise**2).sum()) / (dof * (count - 1)) / count
        total = float(residual @ residual) / dof
        of_cells = of_cells * (max(0.0, 1 - interaction / total) if total > 0 else 0.0)
    residuals = Residuals(inverse, slack, basis, place)
    return beta, Variance(of_cells, of_seeds, residuals, count - 1)


def about_means(columns: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The size of each row's group, and ``columns`` (rows, p) about the means of their groups."""
    _, place = np.unique(groups, return_inverse=True)
    sizes = np.bincount(place).astype(float)
    means = np.stack([np.bincount(place, column) for column in columns.T], 1) / sizes[:, None]
    return sizes[place], columns - means[place]


def method(crossing: Crossing) -> str:
    """How the intervals of ``least_squares`` come about, in words."""
    if crossing.crossed and crossing.seeds >= MIN_SEEDS:
        return (
            "t interval, seeds crossed with cells (variance between seeds, plus HC2 between cells "
            "freed of seed noise; Satterthwaite, Bell-McCaffrey)"
        )
    return "t interval over cell means (HC2, Bell-McCaffrey); the seeds count as given"
