"""a + b told without any law of the ratio: how a metric changes with S among runs of equal η/S.

If log m = f(η/S) + d·log S, then d = 0 is exactly what "only η/S matters" says, whatever f is. For
the power law η^a S^b it is d = a + b. Each setting and ratio has an intercept of its own, so that
no bend of f enters; what is left is the slope on log S inside the families of equal ratio.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.crossed import (
    MIN_SEEDS,
    Crossing,
    Estimate,
    Interval,
    about_means,
    complete,
    estimate,
    is_crossed,
    least_squares,
    over_seeds,
)
from analysis.forms import FORMS, MIN_DOF, design, logs, varying

LEAST = 0.5


@dataclass(frozen=True)
class Family:
    """The cells of one setting and ratio. ``slope``: of the metric on log S among just these, the
    least-squares line through their batch sizes; its t interval is over seeds, each with a line of
    its own (NaN with a single seed, or where the cells do not share theirs)."""

    setting_label: str
    ratio: float
    cells: int
    slope: Interval


@dataclass(frozen=True, eq=False)
class EqualRatio:
    """``slope``: d, pooled over the families (without noise, where noise varies). ``information``:
    how much of what the whole grid tells of a + b the families keep, 1 if nothing is lost.
    ``families``: in order of setting and ratio, the slope of each. ``alike``: p-value of all having
    one slope, NaN where that cannot be tested."""

    slope: Estimate
    information: float
    cells: int
    families: tuple[Family, ...]
    alike: float

    @property
    def suffices(self) -> bool:
        """Whether it stands for a + b: at least half of the grid's information is in it. That
        depends on the design alone, never on what was measured."""
        return self.information >= LEAST


def equal_ratio(table: Crossing, effective: bool, resample: bool) -> EqualRatio | None:
    """The slope at equal ratio; None where shared ratios do not identify it (two degrees of
    freedom at least must be left)."""
    cells = table.cells
    if not len(cells):
        return None
    family = cells.groupby(["setting", "ratio_group"]).ngroup().to_numpy()
    shared = cells.groupby(family)["batch_size"].transform("nunique").to_numpy() > 1
    if not shared.any():
        return None
    columns = _columns(cells)[shared]
    used, groups, values = cells[shared], family[shared], table.table[shared]
    inside = about_means(columns, groups)[1]
    rank = int(np.linalg.matrix_rank(inside))
    if rank < columns.shape[1]:
        columns, inside = columns[:, -1:], inside[:, -1:]
        rank = int(np.linalg.matrix_rank(inside))
    if not rank or len(used) - len(np.unique(groups)) - rank < MIN_DOF:
        return None
    beta, variance = least_squares(columns, values, groups)
    last = np.eye(len(beta))[-1]
    resampled = None
    if resample and values.shape[1] >= MIN_SEEDS:
        resampled = bootstrap.intervals(columns, values, last[None], variance, groups)[0]
    return EqualRatio(
        slope=estimate(float(beta[-1]), variance, last, resampled),
        information=_left(inside) / max(_left(_of_grid(cells, effective)), 1e-300),
        cells=len(used),
        families=_families(used, groups, table.raw[shared]),
        alike=_alike(inside, about_means(values, groups)[1], groups),
    )


def _columns(cells: pd.DataFrame) -> np.ndarray:
    """Each varying noise times log S, then log S; about the centre."""
    size = logs(cells, effective=False)[:, 1]
    size = size - size.mean()
    noises = cells[varying(cells)].to_numpy(float)
    return np.column_stack([noises * size[:, None], size])


def _of_grid(cells: pd.DataFrame, effective: bool) -> np.ndarray:
    """The free law's columns, log S last in place of its own: its slope then is a + b."""
    columns = design(cells, cells, effective, FORMS["free"])
    columns[:, -2] -= columns[:, -1]
    return columns


def _left(columns: np.ndarray) -> float:
    """The last column's sum of squares that the others do not explain."""
    others, last = columns[:, :-1], columns[:, -1]
    if others.shape[1]:
        last = last - others @ np.linalg.lstsq(others, last, rcond=None)[0]
    return float(last @ last)


def _families(used: pd.DataFrame, groups: np.ndarray, raw: np.ndarray) -> tuple[Family, ...]:
    """The slope inside each family, seed by seed."""
    names, first = np.unique(groups, return_index=True)
    labels, ratios = used["setting_label"].to_numpy(), used["ratio_group"].to_numpy(float)
    sizes, found = np.log(used["batch_size"].to_numpy(float)), []
    for group, place in zip(names, first, strict=True):
        table, size = raw[groups == group], sizes[groups == group]
        table, size = table[:, np.isfinite(table).any(0)], size - size.mean()
        crossed = is_crossed(table)
        known = complete(table) if crossed else np.nanmean(table, axis=1, keepdims=True)
        slope = over_seeds(size @ known / (size @ size))
        found.append(Family(str(labels[place]), float(ratios[place]), len(size), slope))
    return tuple(found)


def _alike(inside: np.ndarray, values: np.ndarray, groups: np.ndarray) -> float:
    """F test of one slope against one a family, on cell means about their families' means."""
    from scipy.special import fdtrc

    names, place = np.unique(groups, return_inverse=True)
    y, size = values.mean(1), inside[:, -1]
    pooled = y - inside @ np.linalg.lstsq(inside, y, rcond=None)[0]
    own = np.bincount(place, size * y) / np.bincount(place, size * size)
    rest = y - own[place] * size
    extra, dof = len(names) - inside.shape[1], len(y) - 2 * len(names)
    if extra < 1 or dof < MIN_DOF or not rest @ rest > 0:
        return float("nan")
    between = float(pooled @ pooled - rest @ rest) / extra
    return float(fdtrc(extra, dof, max(between, 0.0) / (float(rest @ rest) / dof)))
