"""Do runs at equal η/S coincide, and up to which batch size?

A family is the cells of equal ratio in one setting; its reference is the smallest batch, the
cell nearest to the small-step limit. The scale factor of another cell is k = S / S_reference.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.crossed import MIN_SEEDS, Interval
from analysis.frames import Sweep

TOLERANCE = 2.0
_GRID = 64
_RESAMPLES = 1000
_SEED = 20181


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
    seed: then there is no yardstick. ``draws``: the factor in each draw of seeds. ``train_size`` is
    N, ``sizeless_label`` the setting without it."""

    quantity: str
    ratio: float
    setting_label: str
    reference: int
    seeds: int
    steps: tuple[Step, ...]
    last: Interval
    train_size: int = 0
    sizeless_label: str = ""
    draws: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

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
class Family:
    """Runs of one setting and ratio, smallest batch first. ``squares``: from seed weights (draws,
    seeds) to squared distances of each further cell and their squared yardsticks, each (draws,
    cells − 1)."""

    batches: np.ndarray
    rates: np.ndarray
    diverged: np.ndarray
    share_diverged: np.ndarray
    seeds: int
    squares: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def breaks(sweep: Sweep, quantity: str, tolerance: float = TOLERANCE) -> tuple[Break, ...]:
    """The break point of every family with at least two batch sizes, in order of ratio.

    Curves are the logarithm of ``quantity`` against epoch, interpolated linearly at 64 epochs
    between the last first snapshot (step 0 left out) and the first end among the family's runs.
    """
    if not sweep.measures(quantity):
        return ()
    paths = _paths(sweep, quantity)

    def family(runs: pd.DataFrame) -> Family:
        return _of_curves(runs, paths)

    return broken(sweep, quantity, set(paths), family, tolerance)


def broken(
    sweep: Sweep,
    quantity: str,
    measured: Collection[str],
    family: Callable[[pd.DataFrame], Family],
    tolerance: float,
) -> tuple[Break, ...]:
    """The break point of every family of runs; ``measured``: runs that can be compared."""
    ended = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    ended = ended.assign(_measured=ended["run_id"].isin(list(measured)))
    found = []
    for (_, ratio), runs in ended.groupby(["setting", "ratio_group"]):
        begun = runs.loc[runs["_measured"], "batch_size"]
        runs = runs[runs["batch_size"] >= begun.min()] if len(begun) else runs.iloc[:0]
        if runs["batch_size"].nunique() > 1:
            found.append(_break(quantity, float(ratio), runs, family(runs), tolerance))
    def place(b: Break) -> tuple[object, ...]:
        return b.sizeless_label, b.train_size, b.setting_label, b.ratio

    return tuple(sorted(found, key=place))


Path = tuple[np.ndarray, np.ndarray]


def _paths(sweep: Sweep, quantity: str) -> dict[str, Path]:
    """Epochs and log values of each finished run."""
    rows = sweep.snapshots
    rows = rows[(rows["status"] == "finished") & (rows["step"] > 0) & (rows[quantity] > 0)]
    epochs, values = rows["epoch"].to_numpy(float), np.log(rows[quantity].to_numpy(float))
    run_ids = rows["run_id"].to_numpy(object)  # in order, as the sweep's snapshots are
    borders = np.flatnonzero(run_ids[1:] != run_ids[:-1]) + 1
    return {
        str(run_ids[a]): (epochs[a:b], values[a:b])
        for a, b in pairwise((0, *borders, len(rows)))
        if b - a > 1
    }


def _of_curves(runs: pd.DataFrame, paths: dict[str, Path]) -> Family:
    known = [paths[run_id] for run_id in runs["run_id"] if run_id in paths]
    start, end = max(epochs[0] for epochs, _ in known), min(epochs[-1] for epochs, _ in known)
    grid = np.linspace(start, max(start, end), _GRID)
    curves = {run_id: np.interp(grid, *paths[run_id]) for run_id in runs["run_id"] if
              run_id in paths}
    table = by_cell_and_seed(runs, curves, _GRID)
    return family_of(runs, partial(mean_squares, table))


def by_cell_and_seed(
    runs: pd.DataFrame, values: Mapping[str, np.ndarray], length: int
) -> np.ndarray:
    """(cells, seeds, length): what each run has, NaN where it is missing."""
    batches, seeds = np.unique(runs["batch_size"]), np.unique(runs["seed"])
    table = np.full((len(batches), len(seeds), length), np.nan)
    cells, columns = np.searchsorted(batches, runs["batch_size"]), np.searchsorted(
        seeds, runs["seed"])
    for run_id, cell, seed in zip(runs["run_id"], cells, columns, strict=True):
        if run_id in values:
            table[cell, seed] = values[run_id]
    return table


def family_of(
    runs: pd.DataFrame, squares: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Family:
    """The runs of a family, and how their cells are compared."""
    batches, first, place = np.unique(runs["batch_size"], return_index=True, return_inverse=True)
    gone = np.bincount(place, runs["status"] == "diverged").astype(int)
    return Family(
        batches,
        runs["lr"].to_numpy(float)[first],
        gone,
        gone / np.bincount(place),
        runs["seed"].nunique(),
        squares,
    )


def _break(
    quantity: str, ratio: float, runs: pd.DataFrame, family: Family, tolerance: float
) -> Break:
    factors, seeds = family.batches / family.batches[0], family.seeds
    distance, yard = (np.sqrt(part[0]) for part in family.squares(np.ones((1, seeds))))
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
    last, lasts = Interval(math.nan, math.nan, math.nan), np.zeros(0)
    if all(step.coincides is not None for step in steps):
        draws = np.random.default_rng(_SEED).multinomial(seeds, np.ones(seeds) / seeds, _RESAMPLES)
        drawn, yards = family.squares(draws.astype(float))
        yards = np.where(np.isfinite(yards), yards, yard**2)  # one seed drawn K times
        drawn = np.where(np.isfinite(drawn), drawn, distance**2)  # only seeds without this cell
        kept = (drawn <= tolerance**2 * yards) & ~lost
        lasts = factors[np.cumprod(kept, axis=1).sum(axis=1)]
        low, high = np.quantile(lasts, [0.025, 0.975], method="nearest")
        point = [bool(step.coincides) for step in steps]
        last = Interval(float(factors[np.cumprod(point).sum()]), float(low), float(high))
    one = runs.iloc[0]
    words, size, sizeless = one["setting_label"], one["train_size"], one["sizeless_label"]
    return Break(quantity, ratio, str(words), int(family.batches[0]), seeds, steps, last,
                 int(size), str(sizeless), lasts)


def _judge(distance: float, yard: float, tolerance: float) -> bool | None:
    if not (math.isfinite(distance) and math.isfinite(yard)):
        return None
    return bool(distance <= tolerance * yard)


def mean_squares(curves: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared distances of ``curves`` (cells, seeds, epochs) with seed ``weights`` (draws,
    seeds): of each cell to the first, seed by seed; and the yardstick between the seeds of a cell,
    the median over cells. Each (draws, cells − 1); NaN where no seed has what it takes.

    Between seeds, Σ_{s≠t} w_s w_t |c_s − c_t|² = 2 (Σ w Σ w |c|² − |Σ w c|²): linear in seeds, and
    about the cell's mean, so that nothing cancels. Seeds that a cell has not are left out of it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        to_first = ((curves[1:] - curves[:1]) ** 2).mean(axis=2)
        known = np.isfinite(to_first)
        distance = weights @ np.where(known, to_first, 0).T / (weights @ known.T)
        noise = np.column_stack([_between_seeds(cell, weights) for cell in curves])
        # one yardstick a family: the middle cell's, which a cell that goes wild does not stretch
        known_noise = np.isfinite(noise).any(axis=1)
        yard = np.full(len(noise), np.nan)
        yard[known_noise] = np.nanmedian(noise[known_noise], axis=1)
    return distance, np.repeat(yard[:, None], distance.shape[1], axis=1)


def _between_seeds(cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,): the mean square between the seeds of a cell (seeds, epochs); NaN without a pair."""
    known = np.isfinite(cell).all(axis=1)
    cell, weights = cell[known], weights[:, known]
    if not len(cell):
        return np.full(len(weights), np.nan)
    cell = cell - cell.mean(axis=0)
    total = weights.sum(axis=1)
    pairs = total**2 - (weights**2).sum(axis=1)
    squares = total * (weights @ (cell**2).mean(axis=1)) - ((weights @ cell) ** 2).mean(axis=1)
    return np.where(pairs > 0, 2 * np.maximum(squares, 0.0) / pairs, np.nan)
