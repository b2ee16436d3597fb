"""What a claim's test reads of a sweep; what is lacking is said once, in the same words."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from analysis.claims.claim import NotTested
from analysis.frames import NOISES, Sweep
from analysis.labels import number
from analysis.points import At, Points, matched_loss, points
from analysis.probes import read_probes

_OF_NO_RUNS = ("quadratic", "break_even", "noise_estimators", "wedge")
_OPTIMIZER, _ADAPTIVE = "config_train_optimizer_name", ("adam",)
_SCHEDULES = ("config_train_lr_schedule_name", "config_train_batch_schedule_name")


def only(sweep: Sweep, run_ids: Iterable[str]) -> Sweep:
    """The sweep as if it had no other runs."""
    keep = set(run_ids)
    runs, rows = (frame[frame["run_id"].isin(keep)] for frame in (sweep.runs, sweep.snapshots))
    return replace(sweep, runs=runs, snapshots=rows)


def plain(sweep: Sweep) -> Sweep:
    """Its runs at one learning rate and one batch size from start to end, for laws that have an η
    and an S; NotTested where all follow a schedule."""
    keep = pd.Series(True, index=sweep.runs.index)
    for column in _SCHEDULES:
        if column in sweep.runs:
            keep &= sweep.runs[column].fillna("constant") == "constant"
    if len(keep) and not keep.any():
        raise NotTested("runs at a constant learning rate and batch size")
    return sweep if keep.all() else only(sweep, sweep.runs.loc[keep, "run_id"])


def of_sgd(sweep: Sweep) -> Sweep:
    """Its runs whose steps are the gradient times η: Adam divides by the gradient's own size, which
    takes √S where SGD takes S (Malladi et al. 2022), and has no law of η/S. NotTested without."""
    if _OPTIMIZER not in sweep.runs:
        return sweep
    keep = ~sweep.runs[_OPTIMIZER].isin(_ADAPTIVE)
    if len(keep) and not keep.any():
        raise NotTested("runs of SGD, since adaptive optimizers have no law of η/S")
    return sweep if keep.all() else only(sweep, sweep.runs.loc[keep, "run_id"])


def constant_sgd(sweep: Sweep) -> tuple[Sweep, str]:
    """Its runs of SGD at constant η and S; in words, how many finished ones that leaves out."""
    kept = of_sgd(plain(sweep))
    lost = len(sweep.finished) - len(kept.finished)
    return kept, (f"{lost} finished runs with a schedule or an adaptive optimizer are left out"
                  if lost else "")


def losses(sweep: Sweep, loss: float = 0.0, groups: "pd.Series | None" = None) -> pd.Series:
    """By run_id, the training loss at which a finished run is compared with those of its group.

    ``loss`` itself, or with 0 the lowest that nine in ten runs of the group reach (matched_loss).
    ``groups``: by run_id; the settings, unless given. One level for all would be that of the group
    which learns least: runs of the others pass it early, or unseen.
    """
    runs = sweep.finished
    of = runs["setting"] if groups is None else runs["run_id"].map(groups)
    found = {}
    for _, part in runs.groupby(of):
        level = loss or matched_loss(only(sweep, part["run_id"]))
        found |= dict.fromkeys(part["run_id"], level) if level else {}
    if not found:
        raise NotTested("finished runs with a training loss above 0")
    return pd.Series(found, dtype=float)


def at_losses(sweep: Sweep, metric: str, levels: pd.Series, monitor: str = ""
              ) -> tuple[pd.DataFrame, int]:
    """The metric of each finished run where its training loss first reaches its own of ``levels``
    (see ``losses``): the frame of ``at`` with a column ``level``; and how many runs never do."""
    measured(sweep, metric, monitor)
    frames, lost = [], 0
    for level, runs in levels.groupby(levels):
        found = points(only(sweep, runs.index), metric, At("loss", float(level)))
        frames.append(found.frame.assign(level=level))
        lost += sum(e.count for e in found.exclusions)
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise NotTested(f"finished runs with {metric} at {named(levels)}")
    return frame, lost


def named(levels: pd.Series) -> str:
    """``train loss 0.1``; where groups differ ``train losses from 0.1 to 0.3 (one a setting)``."""
    low, high = number(levels.min()), number(levels.max())
    if low == high:
        return f"train loss {low}"
    return f"train losses from {low} to {high} (one a setting)"


def measured(sweep: Sweep, metric: str, monitor: str = "") -> None:
    """NotTested with the monitor that measures the metric, where no snapshot has it."""
    if not sweep.measures(metric):
        raise NotTested(f"the monitor {monitor}" if monitor else f"the column {metric}")


def at(sweep: Sweep, metric: str, where: At, monitor: str = "") -> Points:
    """A metric of all finished runs at a point of their path (analysis/points.py)."""
    measured(sweep, metric, monitor)
    found = points(sweep, metric, where)
    if found.frame.empty:
        raise NotTested(f"finished runs with {metric} {where}")
    return found


def path(sweep: Sweep, metric: str, monitor: str = "") -> pd.DataFrame:
    """All snapshots of finished runs in which the metric was measured."""
    measured(sweep, metric, monitor)
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
        raise NotTested(f"the probe {kind}", of_runs=kind not in _OF_NO_RUNS)
    known = probes.rename(columns={"probe_id": "subject_id", "seed": "probe_seed"})
    rows = sweep.curves[sweep.curves["quantity"].isin(quantities)].merge(
        known[["subject_id", "options", "run_ids", "probe_seed"]], on="subject_id")
    if rows.empty:
        raise NotTested(f"curves of the probe {kind}", of_runs=kind not in _OF_NO_RUNS)
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
