"""Curves of the sweep's probes, with words for the runs that each probe read."""

from collections.abc import Sequence

import pandas as pd

from analysis.errors import TableError
from analysis.frames import NOISES, Sweep
from analysis.labels import listed, number
from analysis.probes import read_probes

_AXES = ("lr", "batch_size", "momentum", *NOISES, "seed")
_SYMBOLS = {"lr": "η", "batch_size": "S", "momentum": "μ"}


def probe_curves(sweep: Sweep, kind: str, quantity: str) -> pd.DataFrame:
    """Rows of ``quantity`` of finished probes of a kind with ``probe``, ``words`` (of its runs),
    ``ratio_group``, ``setting`` and ``batch_size`` of its first run. Empty where there are none."""
    empty = sweep.curves.iloc[:0].assign(probe="", words="", ratio_group=0.0)
    try:
        probes = read_probes(sweep.folder).to_pandas()
    except TableError:
        return empty  # said where the probes are read for their own sake
    probes = probes[(probes["kind"] == kind) & (probes["status"] == "finished")]
    runs = sweep.runs.set_index("run_id")
    known = [all(r in runs.index for r in ids) for ids in probes["run_ids"]]
    probes = probes[known] if len(probes) else probes
    rows = sweep.curves[sweep.curves["quantity"] == quantity]
    if probes.empty or rows.empty:
        return empty
    columns = ["ratio_group", "batch_size", "lr", "setting", *NOISES]
    named = probes[["probe_id"]].rename(columns={"probe_id": "subject_id"})
    named["words"] = [_words(runs, list(ids)) for ids in probes["run_ids"]]
    for column in columns:
        named[column] = [runs[column].get(ids[0]) if len(ids) else None
                         for ids in probes["run_ids"]]
    return rows.merge(named, on="subject_id").rename(columns={"subject_id": "probe"})


def _words(runs: pd.DataFrame, ids: Sequence[str]) -> str:
    """What the runs differ in, and what they share of the axes that the sweep varies."""
    if not ids:
        return ""
    own = runs.loc[list(ids)]
    parts, same = [], []
    for axis in _AXES:
        values = list(dict.fromkeys(own[axis]))
        name = _SYMBOLS.get(axis, axis.replace("_", " "))
        if len(values) > 1:
            parts.append(f"{name} = {listed([number(float(v)) for v in values])}")
        elif runs[axis].nunique() > 1 and (axis != "seed" or len(ids) == 1):
            same.append(f"{name} = {number(float(values[0]))}")
    return ", ".join((*parts, *same)) or "all alike"
