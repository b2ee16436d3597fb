"""Intervals with seeds as the unit: a statistic of each seed's runs, then Student's t over seeds.

The same seed starts all cells alike, so a statistic that compares cells is taken seed by seed:
what the seed adds to every cell drops out of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.crossed import Interval
from analysis.spread import spearman

Range: TypeAlias = tuple[float, float]
ANY: Range = (-math.inf, math.inf)
CORRELATION: Range = (-1.0, 1.0)
SHARE: Range = (0.0, 1.0)


def interval(values: Sequence[float], confidence: float = 0.95, range: Range = ANY) -> Interval:
    """Mean of independent values and its t-interval; NaN ends below two of them.

    ``range``: what the values can be, such as ``CORRELATION`` or ``SHARE``. Student's t knows
    nothing of it: near an end the interval reaches beyond, and is cut there.
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(known.mean())
    if len(known) < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(known) - 1, (1 + confidence) / 2))
    half = quantile * float(known.std(ddof=1)) / math.sqrt(len(known))
    least, most = range
    return Interval(mean, max(mean - half, least), min(mean + half, most))


def by_seed(frame: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]) -> tuple[float, ...]:
    """The statistic of each seed's rows, in order of seed; a seed for which it is NaN is left out.
    """
    found = (float(statistic(part)) for _, part in frame.groupby("seed", sort=True))
    return tuple(value for value in found if math.isfinite(value))


def over_seeds(
    frame: pd.DataFrame, statistic: Callable[[pd.DataFrame], float], range: Range = ANY
) -> tuple[Interval, int]:
    """Interval of the statistic over seeds, cut at the ends of its ``range`` (see ``interval``),
    and how many seeds it rests on."""
    values = by_seed(frame, statistic)
    return interval(values, range=range), len(values)


def rank_correlation(
    frame: pd.DataFrame, group: str, x: str, y: str
) -> tuple[Interval, int]:
    """Spearman correlation of two columns within each ``group``, averaged over groups: its interval
    over seeds, and how many seeds it rests on."""
    return over_seeds(
        frame, lambda runs: over(runs, group, lambda part: spearman(part[x], part[y])), CORRELATION)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of y on x; NaN where x is constant."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 2 or np.ptp(x) == 0:
        return math.nan
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def over(runs: pd.DataFrame, column: str, statistic: Callable[[pd.DataFrame], float]) -> float:
    """Mean of the statistic over the groups of ``column``, such as ``setting``; NaN where it is NaN
    in all of them."""
    found = np.array([float(statistic(part)) for _, part in runs.groupby(column, sort=True)])
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else math.nan


def balanced(tables: Mapping[Any, pd.DataFrame]) -> dict[Any, pd.DataFrame]:
    """Of tables (seeds, moments), those to compare, on seeds that all of them have: chosen such
    that seeds times tables are most, so that a table of few seeds costs the others none. Empty
    tables are left out."""
    sets = {key: frozenset(t.index) for key, t in tables.items() if t.size}
    shared: set[frozenset[Any]] = set()
    for one in sets.values():
        shared |= {one} | {one & other for other in shared}
    if not shared:
        return {}
    seeds = max(sorted(shared, key=sorted), key=lambda some: (
        len(some) * sum(some <= one for one in sets.values()), len(some)))
    return {key: tables[key].loc[sorted(seeds)] for key, one in sets.items() if seeds <= one}
