"""How far a metric's cells lie apart at equal η/S, and across."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.crossed import crossing
from analysis.points import At, Points


@dataclass(frozen=True)
class Spread:
    """How far cells lie apart on the fitting scale, seeds averaged.

    ``within``: sd between cells of equal ratio; ``across``: sd between the ratios' means; both
    pooled over settings. ``spearman``: rank correlation of ratio and metric over the cells of a
    setting, averaged over settings by size. ``families``: ratios with at least two cells.
    """

    metric: str
    at: At
    within: float
    across: float
    spearman: float
    families: int
    cells: int


def spread(chosen: Points) -> Spread:
    """The spread of a metric within and across ratios; NaN where there is nothing to compare."""
    table = crossing(chosen.frame)
    cells = table.cells.assign(mean=table.means)
    family = cells.groupby(["setting", "ratio_group"])["mean"]
    inside = _pooled(family)
    ratios = family.mean().reset_index()
    several = int((family.size() > 1).sum())
    return Spread(
        chosen.metric,
        chosen.at,
        inside,
        _pooled(ratios.groupby("setting")["mean"]),
        _spearman(cells),
        several,
        len(cells),
    )


def _pooled(groups: Iterable[tuple[object, pd.Series]]) -> float:
    """Root of the pooled variance about the groups' means."""
    square, dof = 0.0, 0
    for _, values in groups:
        square += float(((values - values.mean()) ** 2).sum())
        dof += len(values) - 1
    return math.sqrt(square / dof) if dof else math.nan


def _spearman(cells: pd.DataFrame) -> float:
    total, weight = 0.0, 0
    for _, part in cells.groupby("setting"):
        if part["ratio_group"].nunique() > 2:
            rho = spearman(part["ratio_group"], part["mean"])
            total, weight = total + rho * len(part), weight + len(part)
    return total / weight if weight else math.nan


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank; NaN below three points or where one is constant.
    """
    ranks = [pd.Series(np.asarray(values, float)).rank() for values in (x, y)]
    if len(ranks[0]) < 3 or any(r.nunique() < 2 for r in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])
