"""What the tables say of a search's points: of those it asked for, and of runs made for other ends.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from analysis.errors import TableError
from analysis.tables import read
from orchestrator import axes
from orchestrator.columns import column as config_column
from orchestrator.columns import identity_columns
from orchestrator.errors import Problem, UserError
from orchestrator.search.checking import column
from orchestrator.search.proposer import Outcome, Point
from orchestrator.search.section import Choices, Range, Search
from orchestrator.search.space import Space
from orchestrator.stores import Store

Row = Mapping[str, Any]
_DIGITS = 1e-8  # relative; a ratio in the tables has ten digits
_ELSEWHERE = ("config_data_path", "config_data_test_path", "config_data_root",
              "config_data_download", "seed")


def rows_of(store: Store) -> list[Row]:
    """The final rows of a sweep's folder; UserError where they cannot be read."""
    if not store.names("tables/runs"):
        return []
    try:
        return read(store.folder, "runs").to_pylist()
    except TableError as error:
        raise UserError(Problem(error.what, error.where, error.fix)) from error


def outcome(rows: Sequence[Row], search: Search) -> Outcome:
    """What became of a point, from the final rows of its seeds. ``failed`` where there is none, or
    where an objective was not measured or is not finite though no run diverged."""
    rows = [r for r in rows if r["status"] != "failed"]
    if not rows:
        return Outcome("failed")
    diverged = sum(r["status"] == "diverged" for r in rows) / len(rows)
    whole = [r for r in rows if r["status"] != "diverged"]
    values = {}
    for name in search.objectives:
        found = [r.get(column(name)) for r in whole]
        if found and all(v is not None and math.isfinite(v) for v in found):
            values[name] = sum(found) / len(found)
    steps = sum(r["steps"] for r in rows) / len(rows)
    if diverged:
        return Outcome("diverged", values, diverged, steps)
    lacking = len(values) < len(search.objectives)
    stopped = any(r["status"] == "stopped" for r in whole)
    status = "failed" if lacking else "stopped" if stopped else "finished"
    return Outcome(status, values, steps=steps)


def known(space: Space, rows: Iterable[Row], configs: Mapping[str, Mapping[str, Any]]
          ) -> Iterator[tuple[Point, list[Row]]]:
    """The points of the space that rows speak of, each with its rows, whatever their seeds.

    A row counts where its whole config is the point's, the seed and the data's place aside.
    ``configs``: columns -> value that the config of every run here has beside (sizes, budgets).
    """
    found: dict[Point, list[Row]] = {}
    for row in rows:
        values = _values(space, row)
        config = None if values is None else space.config(values)
        if config is not None and _alike({**identity_columns(config), **configs}, row):
            found.setdefault(Point(values), []).append(row)
    yield from found.items()


def _values(space: Space, row: Row) -> dict[str, Any] | None:
    """The row's place in the space; None where it has none."""
    values = {}
    for name, dimension in space.search.space.items():
        path = axes.scalar(name, space.spec.model)
        value = row.get(name if path is None else config_column(path))
        if isinstance(dimension, Choices):
            value = next((v for v in dimension.values if _equal(v, value)), None)
        elif not (isinstance(value, int | float) and _within(dimension, value)):
            value = None
        if value is None:
            return None
        values[name] = int(value) if isinstance(dimension, Range) and dimension.whole else value
    return values


def _within(dimension: Range, value: float) -> bool:
    return dimension.low <= value <= dimension.high


def _alike(config: Mapping[str, Any], row: Row) -> bool:
    return all(_equal(value, row.get(name)) for name, value in config.items()
               if name not in _ELSEWHERE)


def _equal(one: Any, other: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    if numbers:
        return math.isclose(one, other, rel_tol=_DIGITS)
    if isinstance(one, Mapping | list):
        one = json.dumps(one, sort_keys=True)
    return one == other
