"""Edge of Stochastic Stability (Andreyev & Beneventano 2024, arXiv 2412.20553): minibatch SGD with
the squared loss. Batch sharpness: E_B[g_Bᵀ H_B g_B / |g_B|²], g and H of the same batch.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import edges
from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, claim
from analysis.claims.edge_of_stability import squared
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, significant

_PAPER = "Andreyev & Beneventano 2024, Edge of Stochastic Stability"
_BATCH = "batch_sharpness"
_WANTED = "SGD with the squared loss and without momentum"


@claim("stochastic_stability/sharpness_grows_with_batch", "G3", paper=_PAPER, grade="robust",
       bound=0.8, slack=1.05,
       words="under minibatch SGD the largest eigenvalue of the full-batch Hessian settles below "
             "2/η, the lower the smaller the batch",
       test="SGD with the squared loss, several S at one η: mean of η·λ_max over the last quarter "
            "of the snapshots: (1) its Spearman correlation with S over the cells of one η, seed "
            "by seed, above 0.8; (2) the largest of a seed's cells over 2, below 1.05")
def sharpness_grows_with_batch(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Full batches count as one more S. Rank correlations are means over η and settings."""
    ends = _settled(sweep, SHARPNESS, "spectrum")
    ends = selection.within(ends, ["setting", "run_lr"], "batch_size", 3, "batch sizes at one η")
    ends = ends.assign(family=ends.groupby(["setting", "run_lr"]).ngroup())
    rank, seeds = replicates.rank_correlation(ends, "family", "batch_size", "product")
    top, by = replicates.over_seeds(ends, lambda one: one["product"].max() / 2)
    cells = _cells(ends)
    first, last = (cells.loc[cells["batch_size"] == s, "product"].mean()
                   for s in (cells["batch_size"].min(), cells["batch_size"].max()))
    return Judgement(
        (Effect("Spearman(S, η·λ_max)", rank, options["bound"], "above", seeds),
         Effect("largest η·λ_max / 2", top, options["slack"], "below", by)),
        f"η·λ_max settles at {significant(first)} for the smallest batch and at "
        f"{significant(last)} for the largest (rank correlation {fixed(rank.value)})",
        "over the last quarter of each run's snapshots", cells.to_dict("records"), _lost(sweep))


@claim("stochastic_stability/batch_sharpness_hovers", "G4", paper=_PAPER, grade="open",
       margin=0.1, words="batch sharpness rises during training and then hovers at 2/η",
       test="SGD with the squared loss: η·(batch sharpness) over the last quarter of the "
            "snapshots, over 2, less 1, a mean over cells, seed by seed: within ±0.1. Open: a "
            "small trial found 1.0 to 1.8 in the place of 2")
def batch_sharpness_hovers(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Minibatches alone: of the full batch it is another quantity."""
    ends = _settled(sweep, _BATCH, "batch_sharpness")
    ends = selection.where(ends, ends["batch_size"] < ends["train_size"], "minibatches")
    off, seeds = replicates.over_seeds(ends, lambda one: float((one["product"] / 2 - 1).mean()))
    cells = _cells(ends)
    low, high = cells["product"].min(), cells["product"].max()
    return Judgement(
        (Effect("η·(batch sharpness) / 2 − 1", off, options["margin"], "within", seeds),),
        f"η·(batch sharpness) settles at {significant(low)} to {significant(high)} in the cells, "
        f"{significant(ends['product'].mean())} on average",
        "over the last quarter of each run's snapshots", cells.to_dict("records"), _lost(sweep))


def _settled(sweep: Sweep, metric: str, monitor: str) -> pd.DataFrame:
    """One row a run: its mean ``product`` = η·metric over the last quarter of its snapshots."""
    path = selection.path(sweep, metric, monitor)
    plain = edges.descends(sweep, path) & (path["momentum"] == 0) & (path["step"] > 0)
    path = squared(sweep, path[plain], _WANTED)
    rows = edges.late(path.assign(product=path["lr"] * path[metric]), edges.LATE)
    keys = ["run_id", "cell", "setting", "seed", "run_lr", "batch_size", "train_size"]
    return rows.groupby(keys)[["product", "train_loss"]].mean().reset_index()


def _cells(ends: pd.DataFrame) -> pd.DataFrame:
    return ends.groupby(["cell", "run_lr", "batch_size"])[["product", "train_loss"]].mean(
        ).reset_index()


def _lost(sweep: Sweep) -> str:
    count = int((sweep.runs["status"] == "diverged").sum())
    return f"{count} runs diverged, and are left out" if count else ""
