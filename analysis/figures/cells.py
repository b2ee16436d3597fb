"""Which cells and runs a figure shows, and their curves averaged over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.frames import NOISES, Sweep

_GRID = 60
_SEEDS = 12


def spaced(values: Sequence, limit: int) -> list:
    """At most ``limit`` of the values, evenly spread over their order, both ends included."""
    if len(values) <= limit:
        return list(values)
    places = np.round(np.linspace(0, len(values) - 1, limit)).astype(int)
    return [values[place] for place in places]


def path(sweep: Sweep, quantity: str, *, positive: bool = True) -> pd.DataFrame:
    """Snapshots after step 0 of finished runs in which the quantity was measured, in the setting
    that most such runs share (the least noise among equals). Empty where there are none."""
    rows = sweep.snapshots
    if not sweep.measures(quantity):
        return rows.iloc[:0]
    rows = rows[(rows["status"] == "finished") & (rows["step"] > 0) & rows[quantity].notna()]
    rows = rows[np.isfinite(rows[quantity])]
    if positive:
        rows = rows[rows[quantity] > 0]
    if rows.empty:
        return rows
    size = rows.groupby("setting")["run_id"].nunique()
    largest = size[size == size.max()].index
    noise = rows.drop_duplicates("setting").set_index("setting")[list(NOISES)].sum(axis=1)
    return rows[rows["setting"] == noise.loc[largest].idxmin()]


def some_cells(rows: pd.DataFrame, ratios: int = 4, batches: int = 3) -> pd.DataFrame:
    """The rows of few cells: ratios spread over the range, at few batch sizes; with ``batches`` 1
    one cell a ratio."""
    if batches > 1:
        sizes = spaced(sorted(rows["batch_size"].unique()), batches)
        rows = rows[rows["batch_size"].isin(sizes)]
    chosen = spaced(sorted(rows["ratio_group"].unique()), ratios)
    rows = rows[rows["ratio_group"].isin(chosen)]
    by = ["ratio_group", "batch_size"] if batches > 1 else ["ratio_group"]
    rows = rows[rows["cell"].isin(rows.groupby(by)["cell"].min())]
    few = rows.groupby("cell")["run_id"].transform(lambda ids: pd.factorize(ids)[0]) < _SEEDS
    return rows[few]


def bands(rows: pd.DataFrame, quantity: str, by: Sequence[str], *, log: bool = True
          ) -> pd.DataFrame:
    """Curves over seeds: for each group a common grid of epochs, the measured ones among them, with
    the mean of its runs' curves (geometric where ``log``) and their range: columns ``by``, epoch,
    low, middle, high, runs."""
    found = [
        _band(group, quantity, log=log).assign(**dict(zip(by, key, strict=True)))
        for key, group in rows.groupby(list(by))
    ]
    columns = [*by, "epoch", "low", "middle", "high", "runs"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _band(group: pd.DataFrame, quantity: str, *, log: bool) -> pd.DataFrame:
    columns = ["run_id", "epoch", quantity]
    runs = [run[columns[1:]].to_numpy(float).T for _, run in group[columns].groupby("run_id")]
    start = max(epochs[0] for epochs, _ in runs)
    end = max(start, min(epochs[-1] for epochs, _ in runs))
    seen = np.unique(np.concatenate([epochs for epochs, _ in runs]))
    seen = np.array(spaced(list(seen[(seen >= start) & (seen <= end)]), 4 * _GRID))
    grid = np.union1d(np.geomspace(start, end, _GRID), seen) if end > start else seen[:1]
    grid = grid[np.diff(np.log(grid), prepend=-np.inf) > 1e-9]
    scale, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    curves = [
        np.interp(np.log(grid), np.log(epochs), scale(values)) for epochs, values in runs
    ]
    ends = [back(of(curves, 0)) for of in (np.min, np.mean, np.max)]
    low, middle, high = ends
    return pd.DataFrame(
        {"epoch": grid, "low": low, "middle": middle, "high": high, "runs": len(runs)}
    )


def moments(steps: Sequence[int], limit: int = 5) -> list[int]:
    """Few of the measured steps: evenly spread over their order, first and last included."""
    return spaced(sorted(set(steps)), limit)


def run_curves(sweep: Sweep, quantity: str) -> pd.DataFrame:
    """Rows of a curve of finished runs, with the run's axes joined; empty where there are none."""
    rows = sweep.curves
    rows = rows[rows["quantity"] == quantity]
    axes = ["run_id", "lr", "batch_size", "ratio_group", "seed", "setting", "cell", "train_size"]
    runs = sweep.finished[axes].rename(columns={"run_id": "subject_id"})
    rows = rows.merge(runs, on="subject_id").rename(columns={"subject_id": "run_id"})
    epochs = rows["step"] / (rows["train_size"] // rows["batch_size"])
    return rows.assign(epoch=epochs)


def short(ids: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Those of the columns that the frame has, for a CSV."""
    return ids[[c for c in columns if c in ids]].reset_index(drop=True)
