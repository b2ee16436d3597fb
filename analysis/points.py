"""One number a run: a metric at a chosen point of its trajectory, on the scale that laws use.

A metric is any column of numbers of ``snapshots``; of ``runs`` too, as it is when a run ends.
Losses and curvatures enter as logarithms, rates as logit((count + ½) / (n + 1)).
"""

import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pandas as pd

from analysis.errors import TableError
from analysis.frames import NOISES, Exclusion, Sweep
from analysis.labels import label, number
from analysis.levels import first_reading

KEPT = (
    "run_id",
    "cell",
    "setting",
    "setting_label",
    "stratum",
    "stratum_label",
    "sizeless_stratum",
    "ratio_group",
    "seed",
    "lr",
    "batch_size",
    "ratio",
    "effective_ratio",
    "momentum",
    *NOISES,
    "train_size",
    "test_size",
)
_RATES = ("critical_sample_ratio",)
_TINY = 1e-12
_LEARNT = 0.9  # of the smallest loss at step 0


@dataclass(frozen=True)
class At:
    """A point of the trajectory: its ``end``, its ``peak`` (step 0 left out), a given ``epoch``
    or the first time that the training ``loss`` is at most ``level``."""

    kind: Literal["end", "peak", "epoch", "loss"]
    level: float = float("nan")

    def __str__(self) -> str:
        """As it is said in a sentence."""
        if self.kind == "end":
            return "at the end"
        if self.kind == "peak":
            return "at its peak"
        name = "epoch" if self.kind == "epoch" else "train loss"
        return f"at {name} {number(self.level)}"


    @classmethod
    def read(cls, text: str) -> "At":
        """From ``end``, ``peak``, ``epoch:5`` or ``loss:0.1``; else a TableError."""
        kind, _, level = text.partition(":")
        if kind in ("end", "peak") and not level:
            return cls(kind)
        with suppress(ValueError):
            if kind in ("epoch", "loss") and 0 <= float(level) < math.inf:
                return cls(kind, float(level))
        raise TableError(
            f"no point of a run is called {text!r}", fix="write end, peak, epoch:5 or loss:0.1"
        )


END, PEAK = At("end"), At("peak")


@dataclass(frozen=True)
class Points:
    """``frame``: a row a run with its groups and axes, ``value``, ``y`` (value on the fitting
    scale) and ``epoch`` of the chosen point. ``exclusions``: finished runs without such a point."""

    metric: str
    at: At
    frame: pd.DataFrame
    exclusions: tuple[Exclusion, ...]


def points(sweep: Sweep, metric: str, at: At) -> Points:
    """The metric of every finished run at ``at``.

    ``loss`` and ``epoch``: between the two snapshots around the crossing, the position is found
    linearly in log loss (in epochs for ``epoch``), and the metric is read there by the same
    fraction, in its logarithm where both values are positive. So the measuring cadence does not
    shift fast runs against slow ones. A run that starts below the level counts as there. A run
    that was there at its first snapshot, and not at step 0, has passed the point unseen: it is
    left out, as is a run whose peak is its first snapshot.
    """
    runs = sweep.finished
    rows = _rows(sweep, metric)
    chosen = _choose(rows, metric, at)
    measured = set(rows["run_id"].unique())
    unseen = _passed_unseen(rows, chosen) if at.kind in ("peak", "loss") else set()
    reached = set(chosen["run_id"])
    chosen = chosen[~chosen["run_id"].isin(unseen)]
    frame = runs[list(KEPT)].merge(chosen, on="run_id")
    frame = frame.assign(y=_scaled(metric, frame))
    usable = np.isfinite(frame["y"].to_numpy(float))
    name = label(metric).plain
    exclusions = (
        _exclusion(f"{name} was not measured", set(runs["run_id"]) - measured),
        _exclusion(f"never {at}", measured - reached),
        _exclusion(f"{at} at or before the first snapshot", unseen),
        _exclusion(f"{name} not a positive number {at}", frame.loc[~usable, "run_id"]),
    )
    frame = frame[usable].reset_index(drop=True)
    return Points(metric, at, frame, tuple(e for e in exclusions if e.count))


def metrics(sweep: Sweep) -> tuple[str, ...]:
    """Every column that a law can be fitted to: numbers measured along the path or at its end,
    other than what the runs were given."""
    snapshots, runs = (
        [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
        for frame in (sweep.snapshots, sweep.runs)
    )
    given = {*KEPT, *sweep.snapshots.columns, "parameters", "width", "threads", "numerics"}
    own = [c for c in runs if c not in given and not c.startswith(("config_", "final_"))]
    along = [c for c in snapshots if c not in {*KEPT, "step", "epoch", "run_lr", "weight_decay"}]
    return tuple(c for c in (*along, *own) if c not in ("measure_size", "weight_decay"))


def known_metric(sweep: Sweep, metric: str) -> str:
    """The metric; a TableError with what it may have meant if the sweep has no such column."""
    known = metrics(sweep)
    if metric in known:
        return metric
    near = get_close_matches(metric, known, 1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise TableError(
        f"the sweep has no metric `{metric}`", fix=f"{hint}metrics: {', '.join(known)}"
    )


def is_rate(metric: str) -> bool:
    """Whether a metric is a share of counted examples, which laws see as a logit."""
    return metric.endswith("accuracy") or metric in _RATES


def _rows(sweep: Sweep, metric: str) -> pd.DataFrame:
    """The snapshots of finished runs that hold the metric; one a run for a column of ``runs``."""
    rows = sweep.snapshots[sweep.snapshots["status"] == "finished"]
    if metric in rows:
        return rows[rows[metric].notna()]
    if metric in sweep.finished:
        last = rows.drop(columns="epoch").groupby("run_id").tail(1)
        ends = sweep.finished[["run_id", metric, "epochs"]].rename(columns={"epochs": "epoch"})
        return last.merge(ends[ends[metric].notna()], on="run_id")
    return rows.iloc[:0].assign(**{metric: 0.0})


def _passed_unseen(rows: pd.DataFrame, chosen: pd.DataFrame) -> set[str]:
    """Runs that are at the point in their first snapshot, which is not of step 0."""
    first = rows.groupby("run_id").head(1)
    pairs = chosen[["run_id", "epoch"]].merge(
        first.loc[first["step"] > 0, ["run_id", "epoch"]], on="run_id", suffixes=("", "_first")
    )
    return set(pairs.loc[pairs["epoch"] <= pairs["epoch_first"], "run_id"])


def matched_loss(sweep: Sweep, share: float = 0.9) -> float | None:
    """The lowest training loss that at least ``share`` of the finished runs without noise reach.

    Rounded up to two digits. With noise in every run: of all finished runs. A level that a run has
    at step 0 matches nothing: where it would lie above nine tenths of the smallest loss there, only
    runs that get so far count, the others never reach it. None without any.
    """
    rows = sweep.snapshots[sweep.snapshots["status"] == "finished"]
    clean = rows[(rows[list(NOISES)] == 0).all(axis=1)]
    rows = clean if len(clean) else rows
    lowest = rows.groupby("run_id")["train_loss"].min().dropna()
    lowest = lowest[lowest > 0]
    bound = _LEARNT * rows.loc[rows["step"] == 0, "train_loss"].min()
    level = _reached(lowest, share)
    return _reached(lowest[lowest <= bound], share) if level and level > bound else level


def _reached(lowest: pd.Series, share: float) -> float | None:
    """What that share of the values lie below, rounded up to two digits; None without any."""
    if lowest.empty:
        return None
    level = float(np.quantile(lowest, share, method="inverted_cdf"))
    unit = 10.0 ** (math.floor(math.log10(level)) - 1)
    return float(f"{math.ceil(level / unit - 1e-9) * unit:.12g}")


def _exclusion(reason: str, run_ids: Collection[str]) -> Exclusion:
    return Exclusion(reason, tuple(sorted(run_ids)))


def _choose(rows: pd.DataFrame, metric: str, at: At) -> pd.DataFrame:
    if at.kind == "end":
        picked = rows.groupby("run_id").tail(1)
    elif at.kind == "peak":
        later = rows[rows["step"] > 0]
        picked = later.loc[later.groupby("run_id")[metric].idxmax()]
    elif at.kind == "epoch":
        return _crossing(rows, metric, rows["epoch"], rows["epoch"] >= at.level, at.level)
    else:
        depth = np.log(rows["train_loss"].clip(lower=_TINY))
        reached = rows["train_loss"] <= at.level
        return _crossing(rows, metric, depth, reached, math.log(max(at.level, _TINY)))
    return picked[["run_id", metric, "epoch"]].rename(columns={metric: "value"})


def _crossing(
    rows: pd.DataFrame, metric: str, along: pd.Series, reached: pd.Series, level: float
) -> pd.DataFrame:
    """The metric where ``along`` reaches ``level`` for the first time; rows of a run in order."""
    value = rows[metric].astype(float)
    path = rows.assign(value=value, log=np.log(value.where(value > 0)))
    found = first_reading(path, ["value", "log", "epoch"], along, reached, level)
    bent = np.exp(found["log"])
    value = found["value"] if is_rate(metric) else bent.fillna(found["value"])
    return pd.DataFrame({"value": value, "epoch": found["epoch"]}).reset_index()


def _scaled(metric: str, frame: pd.DataFrame) -> np.ndarray:
    value = frame["value"].to_numpy(float)
    if is_rate(metric):
        of_test = metric.startswith("test") or metric in _RATES
        return logit(value, frame["test_size" if of_test else "train_size"].to_numpy(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(value > 0, np.log(np.where(value > 0, value, 1.0)), np.nan)


def logit(rate: np.ndarray, n: np.ndarray | float) -> np.ndarray:
    """logit((count + ½) / (n + 1)) of ``rate`` = count / n: finite at 0 and at 1."""
    p = (rate * n + 0.5) / (n + 1)
    return np.log(p / (1 - p))
