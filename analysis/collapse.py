"""Do runs at equal η/S coincide, and up to which batch size?

A family is the cells of equal ratio in one setting; its reference is the smallest batch, the
cell nearest to the small-step limit. The scale factor of another cell is k = S / S_reference.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.crossed import MIN_SEEDS, Interval, crossing
from analysis.frames import Sweep
from analysis.points import At, Points

TOLERANCE = 2.0
_GRID = 64
_RESAMPLES = 1000
_SEED = 20181


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
            total, weight = total + rho * len(part), weight + len(part)
    return total / weight if weight else math.nan


@dataclass(frozen=True)
class Step:
    """One cell of a family against its reference. ``distance``: root mean square over epochs of
    the difference of log curves, seed by seed; ``seed_noise``: the same between seeds of a cell.
    They coincide if distance ≤ tolerance · seed_noise and most seeds did not diverge."""

    factor: float
    batch_size: int
    lr: float
    distance: float
    seed_noise: float
    diverged: int
    coincides: bool | None


@dataclass(frozen=True)
class Break:
    """A family's break point. ``last``: the largest factor up to which all cells coincide with
    the reference, as measured; its interval resamples seeds (percentiles on the factors that were
    run, so no finer than the grid; with fewer than five seeds, an indication). ``broke``: whether
    the grid went beyond it. ``last`` is NaN with a single seed: then there is no yardstick."""

    quantity: str
    ratio: float
    setting: int
    words: str
    reference: int
    seeds: int
    steps: tuple[Step, ...]
    last: Interval
    broke: bool
    few_seeds: bool

    @property
    def last_batch(self) -> float:
        """The batch size at ``last``."""
        return self.last.value * self.reference

    @property
    def broken_from(self) -> Step | None:
        """The first cell that no longer coincides."""
        return next((step for step in self.steps if step.coincides is False), None)


def breaks(sweep: Sweep, quantity: str, tolerance: float = TOLERANCE) -> tuple[Break, ...]:
    """The break point of every family with at least two batch sizes, in order of ratio.

    Curves are the logarithm of ``quantity`` against epoch, interpolated linearly at 64 epochs
    between the first snapshot after step 0 and the end of the shorter one.
    """
    if not sweep.measures(quantity):
        return ()
    ended = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    curves = _curves(sweep, quantity)
    found = []
    for (setting, ratio), family in ended.groupby(["setting", "ratio_group"]):
        done = family.loc[family["run_id"].isin(curves), "batch_size"]
        if family["batch_size"].nunique() > 1 and len(done):
            kept = family[family["batch_size"] >= done.min()]
            if kept["batch_size"].nunique() > 1:
                found.append(_break(quantity, ratio, setting, kept, curves, tolerance))
    return tuple(found)


Curve = tuple[np.ndarray, np.ndarray]


def _curves(sweep: Sweep, quantity: str) -> dict[str, Curve]:
    """Epochs and log values of each finished run."""
    rows = sweep.snapshots
    positive = rows[quantity] > 0
    rows = rows[(rows["status"] == "finished") & (rows["step"] > 0) & positive]
    return {
        run_id: (part["epoch"].to_numpy(float), np.log(part[quantity].to_numpy(float)))
        for run_id, part in rows.groupby("run_id")
        if len(part) > 1
    }


def _break(
    quantity: str, ratio: float, setting: int, family: pd.DataFrame, curves: dict[str, Curve], tolerance: float
) -> Break:
    seeds = sorted(family["seed"].unique())
    by_batch = {
        int(batch): {row.seed: curves[row.run_id] for row in cell.itertuples() if row.run_id in curves}
        for batch, cell in family.groupby("batch_size")
    }
    batches = sorted(by_batch)
    reference = by_batch[batches[0]]
    first = family[family["batch_size"] == batches[0]].iloc[0]
    pairs = [_distances(reference, by_batch[batch], seeds) for batch in batches[1:]]
    lost = [_lost(family, batch) for batch in batches[1:]]
    factors = np.array(batches) / batches[0]
    ones = np.ones((1, len(seeds)))
    ratios = np.array([_compare(*pair, ones)[0] for pair in pairs])
    several = np.isfinite(ratios).any()
    verdicts = [_coincides(r[0] / r[1] if r[1] > 0 else math.nan, gone, cell, tolerance)
                for r, gone, cell in zip(ratios, lost, batches[1:], strict=True)]
    return Break()


