"""Planted sweeps for tests of claims: columns are replaced by functions of the frames."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.frames import Sweep, load
from analysis.schema import sweep_schema
from tests.analysis.planted import Planted, part_path, tables, write_frames

_TYPES = {str: "str", int: "int", float: "float", bool: "bool"}
Column = Callable[[pd.DataFrame], object]


def planted(folder: Path, plan: Planted, *, runs: dict[str, object] | None = None,
            snapshots: dict[str, Column] | None = None, keep: Column | None = None) -> Sweep:
    """The planted sweep with columns of ``runs`` set (a value, or a function of the frame) and
    columns of ``snapshots`` computed from the snapshots joined with their runs (``run_…``).

    ``keep``: which runs there are.
    """
    frame, path = tables(plan)
    if keep is not None:
        frame = frame[keep(frame)]
        path = path[path["run_id"].isin(frame["run_id"])]
    for name, value in (runs or {}).items():
        frame = frame.assign(**{name: value(frame) if callable(value) else value})
    joined = path.merge(frame.add_prefix("run_"), left_on="run_id", right_on="run_run_id")
    for name, value in (snapshots or {}).items():
        joined = joined.assign(**{name: value(joined)})
    path = joined[[*path.columns, *(n for n in snapshots or {} if n not in path)]]
    kinds = {n: _TYPES[type(frame[n].dropna().iloc[0].item() if hasattr(
        frame[n].dropna().iloc[0], "item") else frame[n].dropna().iloc[0])]
        for n in frame if n.startswith("config_")}
    units = {n: "1" for n in (*plan.monitors, *(snapshots or {}))
             if n not in sweep_schema()["snapshots"].names}
    write_frames(folder, plan.but(config=kinds, monitors=units), frame, path)
    return load(folder)


def curves(folder: Path, rows: Sequence[tuple[str, int, str, str, int, float, float]]) -> None:
    """Adds rows (subject_id, step, quantity, series, index, x, value) to the table ``curves``."""
    schema = sweep_schema()["curves"]
    columns = [pa.array(column, field.type) for column, field in
               zip(zip(*rows, strict=True), schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema),
                   part_path(folder, "curves", f"planted-{len(rows)}"))


def probe(folder: Path, kind: str, run_ids: Sequence[str], found: dict[tuple[str, str], dict],
          options: dict | None = None, seed: int = 0) -> None:
    """A finished probe: its record, and its curves as (quantity, series) -> {x: value}."""
    probe_id = hashlib.sha256(f"{kind} {list(run_ids)} {seed}".encode()).hexdigest()[:16]
    rows = [(probe_id, 0, quantity, series, i, float(x), float(value))
            for (quantity, series), curve in found.items()
            for i, (x, value) in enumerate(curve.items())]
    schema = sweep_schema()["curves"]
    columns = [pa.array(column, field.type) for column, field in
               zip(zip(*rows, strict=True), schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema),
                   part_path(folder, "curves", f"{probe_id}-0"))
    (folder / "probes").mkdir(exist_ok=True)
    (folder / "probes" / f"{probe_id}.json").write_text(json.dumps({
        "probe_id": probe_id, "kind": kind, "options": options or {}, "seed": seed,
        "run_ids": list(run_ids), "status": "finished", "status_detail": "", "rows": len(rows)}))
