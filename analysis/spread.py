"""How far a metric's cells lie apart at equal η/S, and across."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

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
            rho = part["ratio_group"].rank().corr(part["mean"].rank())
            total, weight = total + float(rho) * len(part), weight + len(part)
    return total / weight if weight else math.nan
