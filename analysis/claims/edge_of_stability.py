"""Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability (Cohen et al. 2021,
arXiv 2103.00065), and Adaptive Gradient Methods at the Edge of Stability (Cohen et al. 2022, arXiv
2207.14484). Both of full-batch training with the squared loss: cross-entropy's curvature falls
from the edge late in training, as margins grow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import edges
from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import number, significant

_SCALED = "preconditioned_lambda_max"
_REACHES = 0.9


@claim("edge_of_stability/hovers", "G1", grade="robust", margin=0.05,
       paper="Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge "
             "of Stability",
       words="full-batch gradient descent drives the largest eigenvalue of the Hessian to 2/η, "
             "where it hovers right at, or just above, that value",
       test="full-batch gradient descent, squared loss, runs whose η·λ_max reaches 0.9 of what "
            "gradient descent bears (2, or 2(1 + μ) with momentum) between a quarter and three "
            "quarters of their steps: η·λ_max from there on in the last half of their "
            "snapshots, over that bound, less 1, seed by seed: (1) its mean within ±0.05, "
            "(2) the mean of its size below 0.05")
def hovers(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Nesterov's bound is 2(1 + μ)/(1 + 2μ)."""
    if not sweep.measures(SHARPNESS):
        raise NotTested("the monitor spectrum")
    rows = edges.products(sweep)
    rows = squared(sweep, rows, "full-batch gradient descent with the squared loss")
    return _hovers(rows, options["margin"], "η·λ_max")


@claim("edge_of_stability/adam_hovers", "G2", grade="robust", margin=0.105,
       paper="Cohen et al. 2022, Adaptive Gradient Methods at the Edge of Stability",
       words="full-batch Adam drives the largest eigenvalue of the preconditioned Hessian to the "
             "edge of its own stability, (2 + 2β₁)/((1 − β₁)η), which is 38/η at β₁ = 0.9",
       test="full-batch Adam, squared loss, no weight decay, runs whose η·λ_max(P⁻¹H) reaches 0.9 "
            "of that bound between a quarter and three quarters of their steps: "
            "η·λ_max(P⁻¹H) from there on in the last half of their snapshots, over the bound, "
            "less 1, seed by seed: (1) its mean within ±0.105 (34 to 42 at β₁ = 0.9), (2) the mean "
            "of its size below 0.105")
def adam_hovers(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """P: Adam's preconditioner with both bias corrections."""
    sweep = selection.plain(sweep)
    path = selection.path(sweep, _SCALED, "spectrum, with preconditioned: true, under Adam")
    wanted = "full-batch Adam with the squared loss and no weight decay"
    if "config_train_optimizer_beta1" not in sweep.runs:
        raise NotTested(wanted)
    names = path["run_id"].map(selection.config(sweep, "config_train_optimizer_name"))
    decay = path["run_id"].map(selection.config(sweep, "weight_decay"))
    plain = (names == "adam") & (decay == 0) & (path["batch_size"] == path["train_size"])
    path = squared(sweep, path[plain & (path["step"] > 0)], wanted)
    beta = path["run_id"].map(selection.config(sweep, "config_train_optimizer_beta1")).astype(float)
    rows = path.assign(product=path["lr"] * path[_SCALED], bound=(2 + 2 * beta) / (1 - beta))
    return _hovers(rows, options["margin"], "η·λ_max(P⁻¹H)")


def squared(sweep: Sweep, rows: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The rows of runs that were trained with the squared loss."""
    if rows.empty:
        raise NotTested(wanted)
    loss = rows["run_id"].map(selection.config(sweep, "config_train_loss"))
    return selection.where(rows, loss == "mse", wanted)


def _hovers(rows: pd.DataFrame, margin: float, name: str) -> Judgement:
    """Of rows with ``product`` and ``bound``."""
    share = rows["product"] / rows["bound"]
    part = rows["step"] / rows.groupby("run_id")["step"].transform("max")
    there = (share >= _REACHES) & part.between(0.25, 0.75)  # the start's curvature does not count
    reached = there.groupby(rows["run_id"]).any()
    since = rows["step"].where(there).groupby(rows["run_id"]).min()
    kept = selection.where(rows, rows["run_id"].map(reached),
                           f"runs whose {name} reaches {number(_REACHES)} of its bound")
    late = edges.late(kept, 0.5)
    late = late[late["step"] >= late["run_id"].map(since)]
    late = late.assign(off=late["product"] / late["bound"] - 1)
    late = late.assign(size=np.abs(late["off"]))
    mean, seeds = replicates.over_seeds(late, lambda one: _by_cell(one, "off"))
    size, by = replicates.over_seeds(late, lambda one: _by_cell(one, "size"))
    cells = late.groupby(["cell", "run_lr", "momentum", "bound"])["product"]
    lost = int((~reached).sum())
    return Judgement(
        (Effect(f"{name} / bound − 1", mean, margin, "within", seeds),
         Effect(f"|{name} / bound − 1|", size, margin, "below", by)),
        f"{name} over the last half of training is {significant(late['product'].mean())} (bound "
        f"{significant(late['bound'].mean())}; {late['run_id'].nunique()} runs)",
        "over the last half of each run's snapshots",
        cells.agg(["mean", "min", "max"]).reset_index().to_dict("records"),
        f"{lost} runs never come near the edge, and are left out" if lost else "")


def _by_cell(one: pd.DataFrame, column: str) -> float:
    return replicates.over(one, "cell", lambda run: float(run[column].mean()))
