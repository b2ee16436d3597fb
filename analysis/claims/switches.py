"""Runs that switch between two learning rates, and which of them can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import NotTested
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import listed, number
from analysis.points import END, logit

_SCHEDULE = "config_train_lr_schedule"
WAYS = {"large first": "large η, then small", "small first": "small η, then large"}
_SAME = 1e-6
LEAST = 3


@dataclass(frozen=True)
class Switched:
    """``runs``: a row a run that switches between two rates, with ``way`` (large or small first),
    ``share`` (the epoch of the switch over the length T), ``pair`` (runs with the same two rates
    and all else equal) and ``y``, the quantity at the end on the fitting scale: NaN where the run
    diverged or was not measured."""

    runs: pd.DataFrame

    def of(self, way: str) -> dict[int, pd.DataFrame]:
        """Of one way, y as (seeds, shares) by pair, where both constant rates are there: the seeds
        whose constant runs finished, then ``complete``, then ``balanced`` over pairs."""
        runs, tables = self.runs[self.runs["way"] == way], {}
        for pair, part in runs.groupby("pair"):
            y = wide(part)
            if y.shape[1] and y.columns[0] == 0 and y.columns[-1] >= 1:
                tables[pair] = complete(y[y.iloc[:, [0, -1]].notna().all(axis=1)], part)
        return replicates.balanced({k: t for k, t in tables.items() if t.shape[1] >= LEAST})

    @property
    def omitted(self) -> str:
        """In words, which pairs and seeds have no part in ``of``, way by way."""
        told = {way: omitted(self.runs[self.runs["way"] == way], self.of(way)) for way in WAYS}
        return "; ".join(f"{text}, with {WAYS[way]}" for way, text in told.items() if text)

    @property
    def diverged(self) -> str:
        """In words, which runs diverged; empty if none did."""
        told = []
        for way, runs in self.runs.groupby("way"):
            gone = (runs["status"] == "diverged").groupby(runs["share"]).agg(["sum", "size"])
            cells = [f"{n} of {of} at {number(100 * share, 2)} %"
                     for share, (n, of) in gone[gone["sum"] > 0].iterrows()]
            told += [f"with {WAYS[way]}, {listed(cells)} of training"] if cells else []
        return (f"runs that diverged, by the moment of the switch: {'; '.join(told)}; these "
                "moments are left out for all seeds") if told else ""


def switched(sweep: Sweep, metric: str = SHARPNESS) -> Switched:
    """The runs with ``lr_schedule: switch``; NotTested below three epochs of switching a way."""
    columns = {name: f"{_SCHEDULE}_{name}" for name in ("name", "at", "factor")}
    runs = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    if not set(columns.values()) <= set(runs.columns):
        raise NotTested("lr_schedule: switch at several epochs")
    runs = runs.assign(**{k: runs[v] for k, v in columns.items()})
    runs = selection.where(runs, runs["name"] == "switch", "lr_schedule: switch at several epochs")
    if metric == SHARPNESS:
        points = selection.at(sweep, SHARPNESS, END, "spectrum").frame
        y = points.set_index("run_id")["y"]
    else:
        done = runs[runs["status"] == "finished"]
        rate, size = (done[c].to_numpy(float) for c in ("final_test_accuracy", "test_size"))
        y = pd.Series(logit(rate, size), index=done["run_id"])
    first, second = runs["lr"], runs["lr"] * runs["factor"]
    alike = runs["run_id"].map(selection.alike(sweep, "lr", _SCHEDULE))
    whole = runs.groupby(alike)["epochs"].transform("max")  # one that diverged made fewer
    runs = runs.assign(
        alike=alike, y=runs["run_id"].map(y), share=(runs["at"] / whole).clip(upper=1.0),
        way=np.where(first > second, "large first", "small first"),
        large=_rounded(np.maximum(first, second)), small=_rounded(np.minimum(first, second)))
    runs = runs[runs["large"] > runs["small"] * (1 + _SAME)]
    runs = runs.assign(pair=runs.groupby(["alike", "large", "small"]).ngroup())
    if runs.empty or runs.groupby(["pair", "way"])["share"].nunique().max() < LEAST:
        raise NotTested(f"lr_schedule: switch at {LEAST} epochs or more")
    return Switched(runs)


def _rounded(values: pd.Series) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def wide(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.pivot_table(index="seed", columns="share", values="y")


def complete(y: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """y (seeds, moments) of ``runs`` without gaps. A moment at which one of these seeds diverged is
    left out for all, which would else be compared at others; so is one that half of the seeds or
    more lack. A seed that still lacks a run is left out: it may be there tomorrow."""
    gone = runs[(runs["status"] == "diverged") & runs["seed"].isin(y.index)]["share"]
    y = y.loc[:, ~y.columns.isin(gone)]
    return y.loc[:, y.notna().mean() > 0.5].dropna()


def omitted(runs: pd.DataFrame, tables: Mapping[int, pd.DataFrame]) -> str:
    """In words, which pairs of ``runs`` and which seeds of the others are not in ``tables``."""
    lost = runs[~runs["pair"].isin(tables)].groupby("pair")[["large", "small"]].first()
    kept = {seed for table in tables.values() for seed in table.index}
    told = [f"η = {number(pair.large)} and {number(pair.small)}" for pair in lost.itertuples()]
    told += [f"seed {seed}" for seed in sorted(
        set(runs[runs["pair"].isin(tables)]["seed"]) - kept)]
    return f"left out for want of runs that finished: {listed(told)}" if told else ""
