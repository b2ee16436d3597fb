"""The edge of stability: η·λ_max late in training against the largest that gradient descent bears.

On a quadratic, gradient descent is stable while η·λ < 2; with heavy-ball momentum μ, while
η·λ < 2(1 + μ); with Nesterov's, while η·λ < 2(1 + μ)/(1 + 2μ).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.frames import Sweep

SHARPNESS, SCALED = "hessian_lambda_max", "preconditioned_lambda_max"
LATE = 0.25


@dataclass(frozen=True)
class Edge:
    """One full-batch cell. ``mean``, ``low``, ``high``: of η·λ_max over the last quarter of its
    runs' snapshots; ``bound``: where gradient descent becomes unstable."""

    lr: float
    momentum: float
    setting_label: str
    runs: int
    mean: float
    low: float
    high: float
    bound: float


def products(sweep: Sweep) -> pd.DataFrame:
    """Full-batch runs' snapshots after step 0 with ``product`` = η·λ_max (η: of the step that
    follows) and ``bound``; empty where λ_max was not measured."""
    rows = sweep.snapshots
    if not sweep.measures(SHARPNESS):
        return rows.iloc[:0].assign(product=0.0, bound=0.0)
    full = (rows["batch_size"] == rows["train_size"]) & (rows["status"] == "finished")
    rows = rows[full & descends(sweep, rows) & (rows["step"] > 0) & rows[SHARPNESS].notna()]
    return rows.assign(product=rows["lr"] * rows[SHARPNESS], bound=stable(sweep, rows))


def adam_products(sweep: Sweep) -> pd.DataFrame:
    """Full-batch Adam's snapshots after step 0 with ``product`` = η·λ_max(P⁻¹H), P with both bias
    corrections, and ``bound`` = (2 + 2β₁)/(1 − β₁); empty where it was not measured.

    Cohen et al. 2022, arXiv 2207.14484.
    """
    rows, beta1 = sweep.snapshots, "config_train_optimizer_beta1"
    if not sweep.measures(SCALED) or beta1 not in sweep.runs:
        return rows.iloc[:0].assign(product=0.0, bound=0.0)
    runs = sweep.runs.set_index("run_id")
    adam = rows["run_id"].map(runs["config_train_optimizer_name"] == "adam").fillna(False)
    full = (rows["batch_size"] == rows["train_size"]) & (rows["status"] == "finished")
    rows = rows[adam.astype(bool) & full & (rows["step"] > 0) & rows[SCALED].notna()]
    beta = rows["run_id"].map(runs[beta1]).astype(float)
    return rows.assign(product=rows["lr"] * rows[SCALED], bound=(2 + 2 * beta) / (1 - beta))


def descends(sweep: Sweep, rows: pd.DataFrame) -> pd.Series:
    """Rows of runs that follow the gradient of the measured loss with one η and one S from start to
    end: for Adam, nudged SGD and a Fisher penalty the edge is elsewhere, and under a schedule it
    moves. What a run's row leaves empty is as the defaults have it."""
    plain = pd.Series(True, index=sweep.runs["run_id"])
    for column, value in (("config_train_optimizer_name", "sgd"),
                          ("config_train_lr_schedule_name", "constant"),
                          ("config_train_batch_schedule_name", "constant"),
                          ("config_train_fisher_penalty", 0.0)):
        if column in sweep.runs:
            plain &= (sweep.runs[column].fillna(value) == value).to_numpy()
    return rows["run_id"].map(plain).fillna(False).astype(bool)


def stable(sweep: Sweep, rows: pd.DataFrame) -> np.ndarray:
    """The largest η·λ that gradient descent with each row's momentum bears."""
    columns = [name for name in sweep.runs if name.split("_")[-1] == "nesterov"]
    momentum = rows["momentum"].to_numpy(float)
    plain = 2 * (1 + momentum)
    if not columns:
        return plain
    flags = sweep.runs.set_index("run_id")[columns[0]].reindex(rows["run_id"])
    return np.where(flags.to_numpy() == True, plain / (1 + 2 * momentum), plain)  # noqa: E712


def edges(sweep: Sweep) -> tuple[Edge, ...]:
    """One entry a full-batch cell, in order of η; empty without such runs."""
    rows = products(sweep)
    if rows.empty:
        return ()
    return tuple(
        Edge(
            float(cell["run_lr"].iloc[0]),
            float(cell["momentum"].iloc[0]),
            str(cell["setting_label"].iloc[0]),
            int(cell["run_id"].nunique()),
            float(cell["product"].mean()),
            float(cell["product"].min()),
            float(cell["product"].max()),
            float(cell["bound"].iloc[0]),
        )
        for _, cell in sorted(
            late(rows, LATE).groupby("cell"), key=lambda item: (item[1]["run_lr"].iloc[0], item[0])
        )
    )


def late(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """The last ``share`` of the snapshots of each run; rows of a run in order."""
    place = rows.groupby("run_id").cumcount()
    length = rows.groupby("run_id")["step"].transform("size")
    return rows[place >= np.floor(length * (1 - share))]
