"""Planted scores against η, one curve a batch size, with an optimum that is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.optimum import Optimum, optimum
from tests.analysis.planted import Planted, tables, write_frames


@dataclass(frozen=True)
class Curves:
    """logit accuracy = 4 − 0.3·(log η − log η*)², ``skew`` times that above η*, and lost beyond
    ``cliff`` above it; log η* = log 0.1 + exponent·log S + N(0, ``off``). Accuracies are rounded to
    297 test examples. ``step``: the factor between learning rates, whose grid lies anywhere."""

    exponent: float = 0.5
    skew: float = 1.0
    step: float = 2.0
    off: float = 0.0
    cliff: float = math.inf
    seeds: int = 5
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    cell_sd: float = 0.03
    seed_sd: float = 0.1
    run_sd: float = 0.08
    rng: int = 0
    drawn: np.random.Generator = field(init=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "drawn", np.random.default_rng(self.rng))

    @cached_property
    def truth(self) -> dict[int, float]:
        """η* of each batch size."""
        return {s: 0.1 * s**self.exponent * math.exp(self.drawn.normal(0, self.off))
                for s in self.sizes}


def optima(curves: Curves) -> list[Optimum]:
    """What the analysis finds on them."""
    truth, rng = curves.truth, curves.drawn
    place = rng.uniform(0, math.log(curves.step))
    lr = np.exp(np.arange(math.log(0.002), math.log(40), math.log(curves.step)) + place)
    of_seeds = rng.normal(0, curves.seed_sd, curves.seeds)
    found = []
    for size in curves.sizes:
        off = np.log(lr / truth[size])
        mean = 4 - 0.3 * off**2 * np.where(off > 0, curves.skew, 1) + rng.normal(
            0, curves.cell_sd, len(lr))
        table = mean[:, None] + of_seeds + rng.normal(0, curves.run_sd, (len(lr), curves.seeds))
        right = np.round(297 / (1 + np.exp(-table)))
        table = np.log((right + 0.5) / (297 - right + 0.5))
        table[off > curves.cliff] = np.nan
        found.append(optimum(size, lr, table))
    return found


def sweep(folder: Path, planted: Planted, best: Callable[[int], float]) -> Path:
    """A planted sweep whose test accuracy at the end is highest at η = ``best(S)``."""
    runs, snapshots = tables(planted)
    rng = np.random.default_rng(1)
    off = np.log(runs["lr"] / runs["batch_size"].map(best))
    score = 4 - 0.3 * off**2 + rng.normal(0, 0.05, planted.seeds)[runs["seed"]]
    right = np.round(297 / (1 + np.exp(-(score + rng.normal(0, 0.05, len(runs))))))
    runs["final_test_accuracy"] = right / 297
    last = snapshots.groupby("run_id").tail(1).index
    final = snapshots.loc[last, "run_id"].map(runs.set_index("run_id")["final_test_accuracy"])
    snapshots.loc[last, "test_accuracy"] = final
    return write_frames(folder, planted, runs, snapshots)
