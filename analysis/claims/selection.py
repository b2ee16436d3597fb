"""What a claim's test reads of a sweep; what is lacking is said once, in the same words."""

import json
from collections.abc import Sequence

import pandas as pd

from analysis.claims.claim import NotTested
from analysis.frames import NOISES, Sweep
from analysis.points import At, Points, points
from analysis.probes import read_probes


def at(sweep: Sweep, metric: str, where: At, monitor: str = "") -> Points:
    """A metric of all finished runs at a point of their path (analysis/points.py)."""
    if not sweep.measures(metric):
        raise NotTested(f"the monitor {monitor}" if monitor else f"the column {metric}")
    found = points(sweep, metric, where)
    if found.frame.empty:
        raise NotTested(f"finished runs with {metric} {where}")
    return found


def path(sweep: Sweep, metric: str, monitor: str = "") -> pd.DataFrame:
    """All snapshots of finished runs in which the metric was measured."""
    if not sweep.measures(metric):
        raise NotTested(f"the monitor {monitor}" if monitor else f"the column {metric}")
    rows = sweep.snapshots
    rows = rows[(rows["status"] == "finished") & rows[metric].notna()]
    if rows.empty:
        raise NotTested(f"finished runs with {metric}")
    return rows


def levels(frame: pd.DataFrame, column: str, least: int, words: str) -> list[float]:
    """The levels of an axis; NotTested below ``least`` of them."""
    found = sorted(frame[column].dropna().unique()) if column in frame else []
    if len(found) < least:
        raise NotTested(f"at least {least} {words}")
    return found


def where(frame: pd.DataFrame, keep: "pd.Series[bool]", words: str) -> pd.DataFrame:
    """The rows kept; NotTested where none is."""
    kept = frame[keep]
    if kept.empty:
        raise NotTested(words)
    return kept


def within(frame: pd.DataFrame, group: str | list[str], column: str, least: int, words: str
           ) -> pd.DataFrame:
    """The rows of groups, such as settings, in which the axis has ``least`` levels or more;
    NotTested where there is no such group."""
    if frame.empty:
        raise NotTested(f"at least {least} {words}")
    counts = frame.groupby(group)[column].transform("nunique")
    return where(frame, counts >= least, f"at least {least} {words}")


def config(sweep: Sweep, column: str) -> pd.Series:
    """A config column of the runs by run_id, such as ``config_train_loss``."""
    if column not in sweep.runs:
        raise NotTested(f"the column {column}")
    return sweep.runs.set_index("run_id")[column]


def monitor_option(sweep: Sweep, monitor: str, option: str) -> pd.Series:
    """By run_id, the value of an option of a monitor; NotTested where no run has the monitor."""
    found = {run_id: dict(json.loads(text)).get(monitor, {}).get(option)
             for run_id, text in config(sweep, "config_measure_monitors").items()}
    values = pd.Series(found, dtype=object).dropna()
    if values.empty:
        raise NotTested(f"the monitor {monitor}")
    return values


def probe_curves(sweep: Sweep, kind: str, quantities: Sequence[str]) -> pd.DataFrame:
    """Rows of ``curves`` of finished probes of a kind, with ``options``, ``run_ids`` and the
    probe's ``seed`` joined as ``probe_seed``."""
    probes = read_probes(sweep.folder).to_pandas()
    probes = probes[(probes["kind"] == kind) & (probes["status"] == "finished")]
    if probes.empty:
        raise NotTested(f"the probe {kind}")
    known = probes.rename(columns={"probe_id": "subject_id", "seed": "probe_seed"})
    rows = sweep.curves[sweep.curves["quantity"].isin(quantities)].merge(
        known[["subject_id", "options", "run_ids", "probe_seed"]], on="subject_id")
    if rows.empty:
        raise NotTested(f"curves of the probe {kind}")
    return rows


def alike(sweep: Sweep, *but: str) -> pd.Series:
    """By run_id, a number that runs share if their configs differ in the seed and in ``but`` alone.

    ``but``: columns of ``runs``, or the beginnings of their names, such as ``lr`` and
    ``config_train_lr_schedule``.
    """
    own = ("lr", "batch_size", *NOISES, "momentum", "weight_decay", "precision", "data_sha256",
           "train_size")
    runs, families = sweep.runs, tuple(name for name in but if name.startswith("config_"))
    columns = [c for c in runs if (c in own and c not in but)
               or (c.startswith("config_") and not c.startswith(families))]
    groups = runs.groupby(columns, dropna=False, sort=True).ngroup()
    return pd.Series(groups.to_numpy(), index=runs["run_id"], name="group")
