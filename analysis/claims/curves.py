"""Runs' curves against epochs: how far two runs are apart, seed by seed."""

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

_GRID = 64


def logs(rows: pd.DataFrame, quantity: str, run_ids: Collection[str]) -> pd.DataFrame:
    """run_id -> the logarithm of the quantity at 64 epochs: (runs, 64).

    The epochs lie evenly between the last first snapshot (step 0 left out) and the first end among
    the runs; between snapshots it is read linearly. Runs with fewer than two values are left out.
    """
    rows = rows[rows["run_id"].isin(list(run_ids)) & (rows["step"] > 0) & (rows[quantity] > 0)]
    epochs, values = rows["epoch"].to_numpy(float), np.log(rows[quantity].to_numpy(float))
    paths = {str(run_id): (epochs[own], values[own])
             for run_id, own in sorted(rows.groupby("run_id").indices.items()) if len(own) > 1}
    if not paths:
        return pd.DataFrame(columns=range(_GRID))
    start, end = max(e[0] for e, _ in paths.values()), min(e[-1] for e, _ in paths.values())
    grid = np.linspace(start, max(start, end), _GRID)
    return pd.DataFrame({name: np.interp(grid, *path) for name, path in paths.items()}).T


def apart(curves: pd.DataFrame, firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
    """Root mean square over epochs of the difference of two runs' curves, for each pair of run ids;
    NaN where one is missing."""
    values = curves.to_numpy(float)
    one, other = (curves.index.get_indexer(ids) for ids in (firsts, seconds))
    missing = (one < 0) | (other < 0)
    if not len(values):
        return np.full(len(one), math.nan)
    found = np.sqrt(np.mean((values[one] - values[other]) ** 2, axis=1))
    return np.where(missing, math.nan, found)


def between_seeds(curves: pd.DataFrame, cells: Iterable[Collection[str]]) -> float:
    """The yardstick: root mean square distance between the seeds of a cell, the median over cells.

    ``cells``: the run ids of each. NaN where no cell has two runs, and where seeds do not differ:
    that is no length to measure with.
    """
    found = []
    for cell in cells:
        table = curves.loc[curves.index.intersection(list(cell))].to_numpy(float)
        if len(table) > 1:
            found.append(math.sqrt(2.0 * float(table.var(axis=0, ddof=1).mean())))
    yard = float(np.median(found)) if found else math.nan
    return yard if yard > 0 else math.nan


def distances(path: pd.DataFrame, runs: pd.DataFrame, firsts: pd.DataFrame,
              seconds: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Rows (first, second, seed, distance) of each pair of cells, seed by seed: log train loss
    curves, over the distance between the seeds of a cell; and that distance."""
    table = logs(path, "train_loss", set(runs["run_id"]))
    yard = between_seeds(table, [c["run_id"] for _, c in runs.groupby("cell")])
    pairs = firsts.merge(seconds, on="seed", suffixes=("_first", "_second"))
    each = apart(table, pairs["run_id_first"], pairs["run_id_second"])
    return pd.DataFrame({"first": pairs["cell_first"], "second": pairs["cell_second"],
                         "seed": pairs["seed"], "distance": each / yard}), yard
