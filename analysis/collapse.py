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
            total, weight = total + float(rho) * len(part), weight + len(part)
    return total / weight if weight else math.nan


@dataclass(frozen=True)
class Step:
    """One cell of a family against its reference. ``distance``: root mean square over epochs of
    the difference of log curves, seed by seed; ``seed_noise``: the same between seeds of a cell,
    the median over the family's cells. They coincide if distance ≤ tolerance · seed_noise and
    most seeds did not diverge; None where there is no seed noise to compare with."""

    factor: float
    batch_size: int
    lr: float
    distance: float
    seed_noise: float
    diverged: int
    coincides: bool | None


@dataclass(frozen=True)
class Break:
    """A family's break point. ``last``: the largest factor up to which every cell coincides with
    the reference; its interval resamples seeds jointly over the cells (percentiles on the factors
    that were run, so no finer than the grid; below five seeds an indication). NaN with a single
    seed: then there is no yardstick."""

    quantity: str
    ratio: float
    setting_label: str
    reference: int
    seeds: int
    steps: tuple[Step, ...]
    last: Interval

    @property
    def first_broken(self) -> Step | None:
        """The first cell that does not coincide; None if the grid ends before."""
        return next((step for step in self.steps if step.coincides is False), None)

    @property
    def established(self) -> bool:
        """Whether the break lies within the grid for all but 2.5 % of the resampled seeds, or the
        cell that broke diverged in most seeds."""
        top = self.steps[-1].factor
        first = self.first_broken
        return first is not None and (self.last.high < top or first.diverged * 2 >= self.seeds)

    @property
    def few_seeds(self) -> bool:
        """Whether the interval is an indication only."""
        return self.seeds < MIN_SEEDS


@dataclass(frozen=True, eq=False)
class _Family:
    """``curves``: (cells, seeds, epochs) log values, NaN where a run is missing."""

    batches: np.ndarray
    rates: np.ndarray
    curves: np.ndarray
    diverged: np.ndarray
    share_diverged: np.ndarray


def breaks(sweep: Sweep, quantity: str, tolerance: float = TOLERANCE) -> tuple[Break, ...]:
    """The break point of every family with at least two batch sizes, in order of ratio.

    Curves are the logarithm of ``quantity`` against epoch, interpolated linearly at 64 epochs
    between the last first snapshot (step 0 left out) and the first end among the family's runs.
    """
    if not sweep.measures(quantity):
        return ()
    paths = _paths(sweep, quantity)
    ended = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    found = []
    for (_, ratio), runs in ended.groupby(["setting", "ratio_group"]):
        begun = runs.loc[runs["run_id"].isin(paths), "batch_size"]
        runs = runs[runs["batch_size"] >= begun.min()] if len(begun) else runs.iloc[:0]
        if runs["batch_size"].nunique() > 1:
            label = str(runs["setting_label"].iloc[0])
            found.append(_break(quantity, ratio, label, _family(runs, paths), tolerance))
    return tuple(sorted(found, key=lambda b: (b.setting_label, b.ratio)))


Path = tuple[np.ndarray, np.ndarray]


def _paths(sweep: Sweep, quantity: str) -> dict[str, Path]:
    """Epochs and log values of each finished run."""
    rows = sweep.snapshots
    rows = rows[(rows["status"] == "finished") & (rows["step"] > 0) & (rows[quantity] > 0)]
    return {
        str(run_id): (part["epoch"].to_numpy(float), np.log(part[quantity].to_numpy(float)))
        for run_id, part in rows.groupby("run_id")
        if len(part) > 1
    }


def _family(runs: pd.DataFrame, paths: dict[str, Path]) -> _Family:
    batches, seeds = np.unique(runs["batch_size"]), np.unique(runs["seed"])
    known = [paths[run_id] for run_id in runs["run_id"] if run_id in paths]
    start, end = max(epochs[0] for epochs, _ in known), min(epochs[-1] for epochs, _ in known)
    grid = np.linspace(start, max(start, end), _GRID)
    curves = np.full((len(batches), len(seeds), _GRID), np.nan)
    for run in runs.itertuples():
        if run.run_id in paths:
            place = np.searchsorted(batches, run.batch_size), np.searchsorted(seeds, run.seed)
            curves[place] = np.interp(grid, *paths[run.run_id])
    by_batch = runs.groupby("batch_size", sort=True)
    gone = by_batch["status"].agg(lambda status: int((status == "diverged").sum()))
    return _Family(
        batches,
        by_batch["lr"].first().to_numpy(float),
        curves,
        gone.to_numpy(),
        (gone / by_batch.size()).to_numpy(float),
    )


def _break(quantity: str, ratio: float, words: str, family: _Family, tolerance: float) -> Break:
    between, noise = _squares(family.curves)
    factors = family.batches / family.batches[0]
    seeds = between.shape[1]
    everyone = np.ones((1, seeds))
    distance, yard = (np.sqrt(part[0]) for part in _weighted(between, noise, everyone))
    lost = family.share_diverged[1:] >= 0.5
    steps = tuple(
        Step(
            float(factors[i + 1]),
            int(family.batches[i + 1]),
            float(family.rates[i + 1]),
            float(distance[i]),
            float(yard[i]),
            int(family.diverged[i + 1]),
            False if lost[i] else _judge(distance[i], yard[i], tolerance),
        )
        for i in range(len(factors) - 1)
    )
    last = Interval(math.nan, math.nan, math.nan)
    if all(step.coincides is not None for step in steps):
        draws = np.random.default_rng(_SEED).multinomial(seeds, np.ones(seeds) / seeds, _RESAMPLES)
        drawn, yards = _weighted(between, noise, draws.astype(float))
        yards = np.where(np.isfinite(yards), yards, yard**2)  # one seed drawn K times
        drawn = np.where(np.isfinite(drawn), drawn, distance**2)  # only seeds without this cell
        kept = (drawn <= tolerance**2 * yards) & ~lost
        lasts = factors[np.cumprod(kept, axis=1).sum(axis=1)]
        low, high = np.quantile(lasts, [0.025, 0.975], method="nearest")
        point = [bool(step.coincides) for step in steps]
        last = Interval(float(factors[np.cumprod(point).sum()]), float(low), float(high))
    return Break(quantity, float(ratio), words, int(family.batches[0]), seeds, steps, last)


def _judge(distance: float, yard: float, tolerance: float) -> bool | None:
    if not (math.isfinite(distance) and math.isfinite(yard)):
        return None
    return bool(distance <= tolerance * yard)


def _squares(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared distances: to the reference (cells − 1, seeds), between seeds (cells, K, K)."""
    to_reference = ((curves[1:] - curves[:1]) ** 2).mean(axis=2)
    between_seeds = ((curves[:, :, None] - curves[:, None]) ** 2).mean(axis=3)
    return to_reference, between_seeds


def _weighted(
    to_reference: np.ndarray, between_seeds: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both squares averaged with seed ``weights`` (draws, K); each (draws, cells − 1)."""
    known = np.isfinite(to_reference)
    pairs = np.isfinite(between_seeds) & ~np.eye(weights.shape[1], dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = weights @ np.where(known, to_reference, 0).T / (weights @ known.T)
        noise = np.einsum("ds,cst,dt->dc", weights, np.where(pairs, between_seeds, 0), weights)
        noise = noise / np.einsum("ds,cst,dt->dc", weights, pairs.astype(float), weights)
        # one yardstick a family: the middle cell's, which a cell that goes wild does not stretch
        known_noise = np.isfinite(noise).any(axis=1)
        yard = np.full(len(noise), np.nan)
        yard[known_noise] = np.nanmedian(noise[known_noise], axis=1)
    return distance, np.repeat(yard[:, None], distance.shape[1], axis=1)
