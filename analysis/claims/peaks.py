"""The largest value of a quantity along each run's path, between two points that all runs pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import selection
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import count, label, number

_MONITORS = {SHARPNESS: "spectrum", "fisher_trace": "fisher"}


@dataclass(frozen=True)
class Peaks:
    """``rows``: a run a row (run_id, cell, setting, seed, lr, batch_size, ratio_group, value, y =
    log value, epoch, train_accuracy). ``stop_rule``: between which points. ``left_out``: which
    runs are, and how many."""

    rows: pd.DataFrame
    stop_rule: str
    left_out: tuple[str, ...]


def note(*found: Peaks) -> str:
    """Which runs are left out of any of them."""
    parts = dict.fromkeys(part for peaks in found for part in peaks.left_out)
    return f"left out: {'; '.join(parts)}" if parts else ""


def lacking(words: str, found: Peaks) -> str:
    """What a test lacks, and that some runs were there, but without a peak to compare."""
    return f"{words} ({note(found)})" if found.left_out else words


def peaks(sweep: Sweep, metric: str, options: Mapping[str, Any]) -> Peaks:
    """The largest value of each run between the epoch ``from_epoch`` and a training loss: the
    option ``loss``, or with 0 the lowest that nine in ten runs of a setting reach.

    The first epochs are left out, since the start's own curvature rules there. A run that does not
    reach the loss may have its peak before it. One that has the loss behind it at its first
    snapshot from that epoch on, or was as large at a snapshot before (of one whose largest value
    comes later: after step 0), has passed its peak: what stands there in its place falls with all
    that makes a run faster. Both are left out.
    """
    path = selection.path(sweep, metric, _MONITORS.get(metric, "gradient_noise"))
    before = path[metric].shift().where(path["run_id"] == path["run_id"].shift())
    level = path["run_id"].map(selection.losses(sweep, options["loss"]))
    path = path.assign(value=path[metric], before=before, level=level)
    since, name = f"epoch {number(options['from_epoch'])}", label(metric).plain
    trained, inside = path["step"] > 0, path["epoch"] >= options["from_epoch"]
    earlier = path[trained & ~inside].groupby("run_id")[metric].max()
    path = selection.where(path, trained & inside & (path[metric] > 0),
                           f"finished runs with {metric} after {since}")
    begun = path["run_id"].nunique()
    until = path[path["train_loss"] <= path["level"]].groupby("run_id")["step"].min()
    told = selection.named(path["level"].dropna())
    path = selection.where(path, path["step"] <= path["run_id"].map(until),
                           f"runs that reach {told}")
    first = path.groupby("run_id")["step"].min()
    top = path.loc[path.groupby("run_id")["value"].idxmax()].set_index("run_id", drop=False)
    seen = ((until > first) & ((top["step"] > first) | (top["before"] < top["value"]))
            & ~(earlier.reindex(top.index) >= top["value"]))
    rows = selection.where(top, seen, f"runs with a peak of {name} after {since}: in all of them "
                           "it, or the loss, lies before the first snapshot there")
    lost = {f"{count(begun - len(top), 'finished run')} never reach {told}": begun - len(top),
            f"{count(len(top) - len(rows), 'run')} passed the peak of {name}, or the loss, by the "
            f"first snapshot from {since} on": len(top) - len(rows)}
    keep = ["run_id", "cell", "setting", "seed", "run_lr", "batch_size", "ratio_group", "epoch",
            "train_accuracy", "value"]
    rows = rows[keep].rename(columns={"run_lr": "lr"}).reset_index(drop=True)
    return Peaks(rows.assign(y=np.log(rows["value"].to_numpy(float))), f"from {since} to {told}",
                 tuple(text for text, runs in lost.items() if runs))
