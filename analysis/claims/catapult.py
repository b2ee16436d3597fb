"""The Large Learning Rate Phase of Deep Learning: the Catapult Mechanism (Lewkowycz et al. 2020,
arXiv 2003.02218): full-batch gradient descent with the squared loss. λ₀: curvature at step 0.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import edges
from analysis.claims import replicates
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.claims.edge_of_stability import squared
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import number, significant


@claim("catapult/catapult", "I1", grade="likely", slack=1.05,
       accuracy=0.9, most=12.0,
       paper="Lewkowycz et al. 2020, The Large Learning Rate Phase of Deep Learning: the Catapult "
             "Mechanism",
       words="above 2/λ₀ there are learning rates with which gradient descent does not diverge: "
             "the loss grows at first, then converges to a region of lower curvature",
       test="full-batch gradient descent with the squared loss; of each setting and seed the run "
            "of the largest η with η·λ₀ above 2 and at most 12 that ends with a training accuracy "
            "of 0.9 or more: (1) log of its largest training loss over that of step 0 above 0, "
            "(2) log of its last loss over that of step 0 below 0, (3) η·λ_max at the end below "
            "2 · 1.05, as long training comes back to the edge from below, a mean over settings, "
            "seed by seed")
def catapult(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Momentum-free runs alone; the others of η·λ₀ > 2 are evidence."""
    runs = _runs(sweep)
    above = runs[runs["start"] > 2]
    done = above[(above["status"] == "finished") & (above["accuracy"] >= options["accuracy"])]
    dull = int((above["status"] != "diverged").sum()) - len(done)
    done = done[done["start"] <= options["most"]]
    if done.empty:
        raise NotTested(f"runs with η·λ₀ above 2 and at most {number(options['most'])} that end "
                        f"with a training accuracy of {number(options['accuracy'])}")
    top = done.loc[done.groupby(["setting", "seed"])["start"].idxmax()]
    effects = []
    for column, name, bound, side in (("log_peak", "log(largest loss / first)", 0.0, "above"),
                                      ("log_end", "log(last loss / first)", 0.0, "below"),
                                      ("end", "η·λ_max at the end", 2 * options["slack"], "below")):
        interval, seeds = replicates.over_seeds(top, lambda one, c=column: one[c].mean())
        effects.append(Effect(name, interval, bound, side, seeds))
    peak, _, end = (effect.interval.value for effect in effects)
    blown = int((above["status"] == "diverged").sum())
    return Judgement(
        tuple(effects),
        f"at η·λ₀ = {significant(top['start'].min())} to {significant(top['start'].max())} the "
        f"loss first grows {number(math.exp(peak))} times, and η·λ_max ends at {significant(end)}",
        "over whole runs", runs.to_dict("records"),
        f"of {len(above)} runs with η·λ₀ above 2, {blown} diverged and {dull} ended without "
        "fitting, such as with dead units")


def _runs(sweep: Sweep) -> pd.DataFrame:
    """One row a full-batch run: η·λ₀ as ``start``, η·λ_max as ``end``, log loss ratios."""
    wanted = "full-batch gradient descent with the squared loss"
    if not sweep.measures(SHARPNESS):
        raise NotTested("the monitor spectrum")
    rows = sweep.snapshots
    plain = (rows["batch_size"] == rows["train_size"]) & (rows["momentum"] == 0)
    rows = squared(sweep, rows[plain & edges.descends(sweep, rows)], wanted)
    found = []
    for run_id, run in rows.groupby("run_id"):
        run = run[np.isfinite(run["train_loss"]) & run[SHARPNESS].notna()]
        loss, sharp = (run[n].to_numpy(float) for n in ("train_loss", SHARPNESS))
        if len(run) < 2 or run["step"].iloc[0] != 0 or loss.min() <= 0:
            continue
        sharp = sharp * run["lr"].to_numpy(float)
        found.append({"run_id": run_id, "setting": run["setting"].iloc[0],
                      "seed": run["seed"].iloc[0], "status": run["status"].iloc[0],
                      "lr": run["run_lr"].iloc[0],
                      "accuracy": run["train_accuracy"].iloc[-1],
                      "start": sharp[0], "end": sharp[-1],
                      "log_peak": math.log(loss[1:].max() / loss[0]),
                      "log_end": math.log(loss[-1] / loss[0])})
    if not found:
        raise NotTested(f"{wanted}, measured at step 0")
    return pd.DataFrame(found)
