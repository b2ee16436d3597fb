"""The break point by where runs end: from which batch size on a metric is worse than at the start.

The criterion of linear scaling in the papers: with η/S kept, test accuracy falls below that of the
smallest batch by more than two standard errors. Curves need not be compared for it.
"""

import math
from functools import partial

import numpy as np
import pandas as pd

from analysis.collapse import TOLERANCE, Break, Family, broken, by_cell_and_seed, family_of
from analysis.frames import Sweep
from analysis.points import END, At, is_rate, points


def falls(
    sweep: Sweep, metric: str = "test_accuracy", at: At = END, tolerance: float = TOLERANCE
) -> tuple[Break, ...]:
    """The break point of every family by ``metric`` at ``at``, in order of ratio.

    Rates are worse when lower, all else when higher. In ``Step``, ``distance`` is how much worse
    the cell's mean is than the reference's, seed by seed (0 if it is better), ``seed_noise`` the
    standard error of that; a cell that is off by at most ``tolerance`` of them coincides. Rates are
    compared as they are, all else in logarithms.
    """
    if not sweep.measures(metric):
        return ()
    frame = points(sweep, metric, at).frame
    scaled = -frame["value"] if is_rate(metric) else frame["y"]
    values = {run_id: np.array([y]) for run_id, y in zip(frame["run_id"], scaled, strict=True)}

    def family(runs: pd.DataFrame) -> Family:
        worse = by_cell_and_seed(runs, values, 1)[..., 0]
        return family_of(runs, partial(squares, worse[1:] - worse[:1]))

    return broken(sweep, metric, set(values), family, tolerance)


def squares(worse: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares of how much worse each cell is (0 if better) and of its standard error, each (draws,
    cells), for ``worse`` (cells, seeds), NaN where a run is missing, and seed ``weights`` (draws,
    seeds). NaN below two seeds."""
    known = np.isfinite(worse)
    filled = np.where(known, worse, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights @ known.T
        mean = weights @ filled.T / total
        square = weights @ (filled**2).T / total - mean**2
        error = np.where(total > 1, np.maximum(square, 0.0) / (total - 1), math.nan)
    return np.maximum(mean, 0.0) ** 2, error
