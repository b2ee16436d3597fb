"""Why no η can be recommended: an error for a whole sweep, a sentence for a setting."""

import math

import pandas as pd

from analysis.errors import TableError
from analysis.frames import Sweep
from analysis.labels import count, listed, number


def check(sweep: Sweep, batch_size: int, metric: str) -> None:
    """TableError, one sentence, where nothing in the sweep answers that question."""
    where = str(sweep.folder.path)
    if sweep.runs.empty:
        raise TableError("no run has ended yet", where=where, fix="wait, or run the sweep first")
    known = sorted(c for c in sweep.snapshots if c.endswith(("accuracy", "_loss"))
                   and sweep.measures(c))
    if metric not in known:
        raise TableError(f"{metric} is no accuracy or loss that this sweep measured", where=where,
                         fix=f"write --metric with one of {', '.join(known)}")
    size = int(sweep.runs["train_size"].max())
    if not 1 <= batch_size <= size:
        raise TableError(f"batch size {batch_size} does not fit {size} training examples",
                         where=where, fix=f"write --batch-size from 1 to {size}")
    if sweep.finished.empty:
        raise TableError(f"{_fates(sweep.runs)}: no η to recommend", where=where,
                         fix=f"run smaller learning rates than {_lowest(sweep.runs)}")


def noise(sweep: Sweep, wanted: float | None) -> float:
    """The label noise to look at: ``wanted``, or 0, or the only one there is; TableError where no
    run has it."""
    known = sorted(float(v) for v in sweep.runs["label_noise"].unique())
    if wanted is None and len(known) == 1:
        return known[0]
    for value in known:
        if math.isclose(value, wanted or 0.0, rel_tol=1e-9, abs_tol=1e-12):
            return value
    asked = f"label noise {number(wanted)}" if wanted is not None else "no label noise"
    fix = f"write --noise with one of {', '.join(map(number, known))}"
    if known == [0.0]:
        fix = "this sweep has no label noise: leave --noise out"
    raise TableError(f"no run of this sweep has {asked}", where=str(sweep.folder.path), fix=fix)


def unanswered(runs: pd.DataFrame, batch_size: int) -> str:
    """Why one setting's ``runs`` cannot tell, in a sentence; empty where they may."""
    size = int(runs["train_size"].iloc[0])
    if batch_size > size:
        return f"no η: batch size {batch_size} does not fit {size} training examples"
    if not (runs["status"] == "finished").any():
        return f"no η: {_fates(runs)}; run smaller learning rates than {_lowest(runs)}"
    return ""


def _fates(runs: pd.DataFrame) -> str:
    return f"none of {count(len(runs), 'run')} finished ({listed(sorted(set(runs['status'])))})"


def _lowest(runs: pd.DataFrame) -> str:
    return number(float(runs["lr"].min()))
