"""The Large Learning Rate Phase of Deep Learning: the Catapult Mechanism (Lewkowycz et al. 2020,
arXiv 2003.02218): full-batch gradient descent with the squared loss. λ₀: curvature at step 0.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import edges
from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, Side, claim
from analysis.claims.edge_of_stability import squared
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import number, significant

_TINY = 1e-12
_AFTER: tuple[tuple[str, str, float, Side], ...] = (
    ("log_peak", "log(largest loss / first)", 0.0, "above"),
    ("end", "η·λ_max at the end", 2.0, "below"),
    ("flatter", "log(λ_max at the end / that of η below 2/λ₀)", 0.0, "below"))


@claim("catapult/catapult", "I1", grade="likely", slack=1.05, accuracy=0.9, most=12.0, rates=3.0,
       share=0.5,
       paper="Lewkowycz et al. 2020, The Large Learning Rate Phase of Deep Learning: the Catapult "
             "Mechanism",
       words="above 2/λ₀ there are learning rates with which gradient descent does not diverge: "
             "the loss grows at first, then converges to a region of lower curvature",
       test="full-batch gradient descent with the squared loss, settings and seeds in which an η "
            "with η·λ₀ below 2 ends with a training accuracy of 0.9 or more, and with at least 3 η "
            "with η·λ₀ above 2 and at most 12: (1) share of them in which one of the latter does "
            "not diverge and ends with that accuracy, above 0.5. Of the largest such η: (2) log of "
            "its largest training loss over that of step 0 above 0, (3) η·λ_max at the end below "
            "2 · 1.05, as long training comes back to the edge from below, (4) log of λ_max at the "
            "end over that of the largest η below 2/λ₀, at equal steps, below 0. Means over "
            "settings, seed by seed")
def catapult(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Momentum-free runs alone. Where no η above 2/λ₀ serves, (1) alone is told, and fails."""
    runs = _runs(sweep)
    runs = runs.assign(fits=(runs["status"] == "finished")
                       & (runs["accuracy"] >= options["accuracy"]))
    below = selection.where(
        runs, runs["fits"] & (runs["start"] < 2), "a learning rate with η·λ₀ below 2 that ends "
        f"with a training accuracy of {number(options['accuracy'])}")
    lazy = _largest(below).set_index(["setting", "seed"])["log_sharp"].rename("lazy")
    above = runs[(runs["start"] > 2) & (runs["start"] <= options["most"])].join(
        lazy, on=["setting", "seed"])
    tried = selection.within(
        above[above["lazy"].notna()], ["setting", "seed"], "lr", int(options["rates"]),
        f"learning rates with η·λ₀ above 2 and at most {number(options['most'])}")
    served = tried.groupby(["setting", "seed"])["fits"].any().astype(float).reset_index()
    share, seeds = replicates.over_seeds(served, lambda one: one["fits"].mean(), replicates.SHARE)
    effects = [Effect("share of seeds with a rate above 2/λ₀ that fits", share,
                      options["share"], "above", seeds)]
    top = _largest(tried[tried["fits"]])
    top = top.assign(flatter=top["log_sharp"] - top["lazy"])
    for column, name, bound, side in _AFTER if len(top) else ():
        interval, by = replicates.over_seeds(top, lambda one, c=column: one[c].mean())
        effects.append(Effect(name, interval, bound * options["slack"], side, by))
    blown = int((tried["status"] == "diverged").sum())
    dull = len(tried) - blown - int(tried["fits"].sum())
    return Judgement(
        tuple(effects), _said(top, len(served)), "over whole runs",
        runs.to_dict("records"),
        f"of {len(tried)} runs with η·λ₀ above 2 and at most {number(options['most'])}, {blown} "
        f"diverged and {dull} ended without fitting, such as with dead units")


def _largest(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each setting and seed the run of the largest η·λ₀."""
    return runs.loc[runs.groupby(["setting", "seed"])["start"].idxmax()]


def _said(top: pd.DataFrame, tried: int) -> str:
    if top.empty:
        return f"in none of {tried} seeds does a rate above 2/λ₀ fit"
    return (f"in {len(top)} of {tried} seeds a rate above 2/λ₀ fits; at η·λ₀ = "
            f"{significant(top['start'].min())} to {significant(top['start'].max())} the loss "
            f"first grows {number(math.exp(top['log_peak'].mean()))} times, η·λ_max ends at "
            f"{significant(top['end'].mean())}, and λ_max at "
            f"{number(math.exp(top['flatter'].mean()))} times that of training below 2/λ₀")


def _runs(sweep: Sweep) -> pd.DataFrame:
    """One row a full-batch run: η·λ₀ as ``start``, η·λ_max as ``end``, its log λ_max there, and log
    of its largest loss after step 0 over that of step 0. The last three are unknown of runs that
    diverged before they were measured a second time."""
    wanted = "full-batch gradient descent with the squared loss"
    selection.measured(sweep, SHARPNESS, "spectrum")
    rows = sweep.snapshots
    chosen = (rows["batch_size"] == rows["train_size"]) & (rows["momentum"] == 0) & (
        rows["status"] != "failed")
    rows = squared(sweep, rows[chosen & edges.descends(sweep, rows)], wanted)
    rows = rows[np.isfinite(rows["train_loss"]) & (rows["train_loss"] > 0)
                & rows[SHARPNESS].notna()]
    found = []
    for run_id, run in rows.groupby("run_id"):
        first, last, later = run.iloc[0], run.iloc[-1], run["train_loss"].iloc[1:]
        if first["step"] != 0:
            continue
        known = len(later) > 0
        found.append({
            "run_id": run_id, "setting": first["setting"], "seed": first["seed"],
            "status": first["status"], "lr": first["run_lr"], "accuracy": last["train_accuracy"],
            "start": first["run_lr"] * first[SHARPNESS],
            "end": last["run_lr"] * last[SHARPNESS] if known else math.nan,
            "log_sharp": math.log(max(last[SHARPNESS], _TINY)) if known else math.nan,
            "log_peak": math.log(later.max() / first["train_loss"]) if known else math.nan})
    if not found:
        raise NotTested(f"{wanted}, measured at step 0")
    return pd.DataFrame(found)
