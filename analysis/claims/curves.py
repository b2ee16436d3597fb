"""Runs' curves against epochs: how far two runs are apart, seed by seed."""

import math
from collections.abc import Collection, Iterable

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


def apart(curves: pd.DataFrame, first: str, second: str) -> float:
    """Root mean square over epochs of the difference of two runs' curves; NaN if one is missing."""
    one, other = curves.index.get_indexer([first, second])
    if min(one, other) < 0:
        return math.nan
    values = curves.to_numpy(float)
    return float(np.sqrt(np.mean((values[one] - values[other]) ** 2)))


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
    return pd.DataFrame([
        {"first": p.cell_first, "second": p.cell_second, "seed": p.seed,
         "distance": apart(table, p.run_id_first, p.run_id_second) / yard}
        for p in pairs.itertuples()], columns=["first", "second", "seed", "distance"]), yard
