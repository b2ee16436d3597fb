"""Times to get somewhere, and the law they follow: epochs to a training loss, to the target of
``until``, or to the accuracy of the monitor ``memorization``. Who did not get there counts.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.censored import clustered, maximise
from analysis.crossed import UNKNOWN, Interval
from analysis.forms import FORMS, MIN_DOF, Form, design
from analysis.frames import Exclusion, Sweep
from analysis.labels import number
from analysis.laws import LEVEL, MARGIN, Verdict, equivalence
from analysis.levels import first_reading
from analysis.points import KEPT

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Times:
    """``frame``: a row a run with its axes; its time in epochs lies in [``low``, ``high``], equal
    where it is known, ``high`` infinite where the run ended before (``censored``). ``exclusions``:
    runs that diverged, and so never come there however long they are trained."""

    words: str
    frame: pd.DataFrame
    exclusions: tuple[Exclusion, ...]

    @property
    def censored(self) -> int:
        """Runs that did not get there."""
        return int(np.isinf(self.frame["high"]).sum())


def times(sweep: Sweep, level: float | None) -> tuple[Times, ...]:
    """Every time that the sweep knows of at least one run: to the matched loss ``level``, to the
    target of training, to convergence."""
    found = (epochs_to_loss(sweep, level) if level is not None else None,
             epochs_to_target(sweep), epochs_to_fit(sweep))
    return tuple(t for t in found if t is not None and len(t.frame) > t.censored)


def epochs_to_loss(sweep: Sweep, level: float) -> Times:
    """Epochs to the first training loss ≤ ``level``, linear in log loss between snapshots."""
    rows = sweep.snapshots[sweep.snapshots["status"].isin(["finished", "stopped"])]
    rows = rows[rows["train_loss"].notna()]
    depth = np.log(rows["train_loss"].clip(lower=_TINY))
    there = first_reading(rows, ["epoch"], depth, rows["train_loss"] <= level,
                          math.log(max(level, _TINY)))
    seen = there["epoch"].to_dict()
    known = {run_id: (t, t) for run_id, t in seen.items() if t > 0}
    return _times(sweep, f"epochs to train loss {number(level)}", known, set(seen) - set(known))


def epochs_to_target(sweep: Sweep) -> Times | None:
    """Epochs to the target accuracy of ``train: until``, which is looked at after every epoch; None
    where no run had such a target."""
    runs = sweep.runs
    column = next((c for c in runs if c.startswith("config_") and "until" in c), None)
    if column is None or runs[column].isna().all() or not (
        runs["status"].isin(["finished", "stopped"]).any()
    ):
        return None
    ended = runs[runs["status"] == "finished"]
    known = {r: (e - 1, e) for r, e in zip(ended["run_id"], ended["epochs"], strict=True)}
    return _times(sweep, "epochs to the target accuracy", known, set())


def epochs_to_fit(sweep: Sweep) -> Times | None:
    """Epochs to the accuracy of ``converged_epoch`` (monitor memorization): between the snapshot
    that saw it and the one before; None where it was not measured."""
    if not sweep.measures("convergence_censored"):
        return None
    rows = sweep.snapshots[sweep.snapshots["status"].isin(["finished", "stopped"])]
    last = rows[rows["convergence_censored"].notna()].groupby("run_id").tail(1)
    last = last[last["convergence_censored"] == 0]
    at = last.set_index("run_id")["converged_epoch"]
    earlier = rows[rows["epoch"] < rows["run_id"].map(at)].groupby("run_id")["epoch"].max()
    known = {r: (float(earlier.get(r, 0.0)), float(t)) for r, t in at.items()}
    none = {r for r, (_, t) in known.items() if not t > 0}
    return _times(sweep, "epochs to converge",
                  {r: k for r, k in known.items() if r not in none}, none)


def _times(
    sweep: Sweep, words: str, known: dict[str, tuple[float, float]], unseen: set[str]
) -> Times:
    runs = sweep.runs
    used = runs[runs["status"].isin(["finished", "stopped"]) & ~runs["run_id"].isin(unseen)]
    bounds = [known.get(r, (e, math.inf)) for r, e in zip(used["run_id"], used["epochs"],
                                                          strict=True)]
    low, high = np.array(bounds, float).reshape(-1, 2).T
    frame = used[list(KEPT)].assign(low=low, high=high, censored=np.isinf(high))
    gone = tuple(sorted(runs.loc[runs["status"] == "diverged", "run_id"]))
    left = (Exclusion("diverged: never there", gone),
            Exclusion("there from the start", tuple(sorted(unseen))))
    return Times(words, frame.reset_index(drop=True), tuple(e for e in left if e.count))


@dataclass(frozen=True, eq=False)
class TimeLaw:
    """One form. ``aic``: of the censored likelihood; ``spread``: σ of log T between runs."""

    formula: str
    exponents: dict[str, Interval]
    spread: float = math.nan
    aic: float = math.nan


@dataclass(frozen=True, eq=False)
class TimeFit:
    """The laws of a time. ``total``: a + b of the free law, the test of the ratio law as in
    ``Fit``. ``censored`` of the ``runs`` did not get there."""

    words: str
    laws: dict[str, TimeLaw]
    total: Interval
    verdict: Verdict
    margin: float
    runs: int
    censored: int
    cells: int
    seeds: int
    exclusions: tuple[Exclusion, ...]


def fit_times(times: Times, margin: float = MARGIN) -> TimeFit:
    """Fits every form to times by maximum likelihood; never raises for want of data."""
    frame = times.frame
    effective = bool(frame["momentum"].nunique() > 1)
    laws, total, p_zero = {}, UNKNOWN, math.nan
    for name, form in FORMS.items():
        laws[name], found = _law(frame, form, effective)
        if name == "free" and found is not None:
            total, p_zero = found
    exponents = tuple(laws["free"].exponents.values())
    verdict = Verdict.NOT_FITTED
    if math.isfinite(total.value):
        verdict = Verdict.NO_LAW if not p_zero < LEVEL else equivalence(total, exponents, margin)
    return TimeFit(times.words, laws, total, verdict, margin, len(frame), times.censored,
                   frame["cell"].nunique(), frame["seed"].nunique(), times.exclusions)


def _law(
    frame: pd.DataFrame, form: Form, effective: bool
) -> tuple[TimeLaw, tuple[Interval, float] | None]:
    """The law, and of the free one a + b with the p-value of no dependence."""
    unknown = TimeLaw(form.formula, dict.fromkeys(form.names, UNKNOWN)), None
    if frame["cell"].nunique() < 2 + len(form.names) + MIN_DOF:
        return unknown
    rows = design(frame, frame, effective, form)
    with np.errstate(divide="ignore"):
        low, high = np.log(frame["low"].to_numpy(float)), np.log(frame["high"].to_numpy(float))
    found = maximise(rows, low, high)
    if found is None:
        return unknown
    spread = clustered(found, frame["cell"].to_numpy(), frame["seed"].to_numpy())
    first = rows.shape[1] - len(form.names)
    unit = np.eye(rows.shape[1])
    exponents = {n: spread.interval(found, unit[i]) for i, n in enumerate(form.names, first)}
    law = TimeLaw(form.formula, exponents, found.sigma, 2 * (rows.shape[1] + 1) - 2 * found.value)
    if len(form.names) < 2:
        return law, None
    return law, (spread.interval(found, unit[first:].sum(0)), spread.p_of_none(found, first))
