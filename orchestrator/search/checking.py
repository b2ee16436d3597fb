"""What can be told of a search before its data is read."""

from collections.abc import Collection, Mapping
from typing import Any

from analysis.schema import sweep_schema
from orchestrator.columns import monitor_columns
from orchestrator.errors import Problem
from orchestrator.search.space import as_grid
from orchestrator.spec import Spec
from orchestrator.stores import open_store, reach
from orchestrator.sweepcheck import check_sweep
from trainables.errors import InputError
from trainables.options import did_you_mean


def check_search(spec: Spec, given: Mapping[str, Any], wrong: Collection[str]) -> list[Problem]:
    """All problems of a search: those of the grid of its ends, and objectives without a column."""
    problems = check_sweep(as_grid(spec), given, wrong)
    if spec.measure is None:
        return problems
    known = objectives(spec)
    for name in spec.sweep.search["objectives"]:
        if name.removeprefix("final_") not in known:
            problems.append(spec.problem(
                f"the objective `{name}` is no column of the runs",
                f"sweep.search.objectives.{name}",
                did_you_mean(name.removeprefix("final_"), known, "columns")))
    for i, name in enumerate(spec.sweep.search["know"]):
        if not _holds_tables(name):
            problems.append(spec.problem(f"{name} holds no sweep", f"sweep.search.know.{i}",
                                         "give <storage>/<name> of a sweep"))
    return problems


def _holds_tables(name: str) -> bool:
    reach(name)
    return bool(open_store(name).names("tables/runs"))


def objectives(spec: Spec) -> list[str]:
    """What may be an objective: numbers of the table ``runs`` that a run ends with, without
    ``final_``."""
    try:
        measured = monitor_columns(spec.measure.monitors, spec.base_dir)
    except InputError:
        measured = {}
    schema = sweep_schema({}, measured)["runs"]
    names = [f.name for f in schema if str(f.type) in ("double", "int64")]
    finals = [n.removeprefix("final_") for n in names if n.startswith("final_")]
    return [*finals, *(n for n in ("steps", "epochs", "time_train_s") if n in names)]


def column(objective: str) -> str:
    """The column of ``runs`` that holds an objective."""
    return objective if objective in ("steps", "epochs", "time_train_s") else f"final_{objective}"
