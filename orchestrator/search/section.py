"""The section ``sweep.search`` of a spec: sampler, budget, space, objectives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.errors import InputError
from trainables.options import (
    Option,
    Table,
    choice,
    did_you_mean,
    fill,
    number,
    optional,
    whole,
)

DIRECTIONS = ("maximize", "minimize")
MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class Sampler:
    """What a sampler takes: how many objectives, the options of its own; where it is built.

    ``one_range``: it places one scalar, above 0, and takes lists of choices for the others.
    """

    module: str
    fewest: int
    most: float
    words: str
    options: Table
    one_range: bool = False
    own_seeds: bool = False  # its points are single runs, with a seed of their own

    @property
    def optimises(self) -> bool:
        """Whether it looks for the best objectives, rather than for a boundary or a law."""
        return self.module == _OPTUNA


_OPTUNA = "orchestrator.search.optuna_search"
SAMPLERS: Mapping[str, Sampler] = {
    "tpe": Sampler(_OPTUNA, 1, math.inf, "tree-structured Parzen estimators, over all scalars "
                   "together", {"startup": optional(whole(None, 1, 10**6))}),
    "nsga2": Sampler(_OPTUNA, 1, math.inf, "NSGA-II, for Pareto fronts",
                     {"population": optional(whole(None, 2, 10**6))}),
    "gp": Sampler(_OPTUNA, 1, math.inf, "a Gaussian process, for few and dear runs",
                  {"startup": optional(whole(None, 1, 10**6))}),
    "random": Sampler(_OPTUNA, 1, math.inf, "uniform draws from the space", {}),
    "boundary": Sampler(
        "orchestrator.search.boundary", 0, 0, "the largest lr that does not diverge, for each "
        "combination of the other scalars",
        {"resolution": number(0.01, lambda v: 1e-6 <= v <= 1, "a number from 1e-6 to 1")}, True,
        own_seeds=True),
    "break_point": Sampler(
        "orchestrator.search.breaking", 0, 0, "the batch size from which runs of equal ratio part",
        {"resolution": number(0.1, lambda v: 1e-6 <= v <= 1, "a number from 1e-6 to 1")}, True),
    "law": Sampler(
        "orchestrator.search.design", 1, 1, "the cells that tell the exponents of lr and "
        "batch_size best", {"exponent": choice("sum", ("a", "b", "sum", "both"))}, True),
}


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included; on a ``log`` scale or evenly; ``whole`` ones."""

    low: float
    high: float
    log: bool
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.low, self.high

    def __str__(self) -> str:
        return (f"{self.low:g} to {self.high:g}{' on a log scale' if self.log else ''}"
                f"{', whole numbers' if self.whole else ''}")


@dataclass(frozen=True)
class Choices:
    """A list of values without order."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def __str__(self) -> str:
        return ", ".join(str(v) for v in self.values)


Space = Mapping[str, Range | Choices]

_TABLE: Table = {
    "sampler": Option(None, lambda v: v in SAMPLERS, f"one of {', '.join(SAMPLERS)}"),
    "runs": whole(None, 1, MOST_RUNS),
    "seeds": whole(1, 1, 10_000),
    "space": Option(None, lambda v: isinstance(v, Mapping), "a map of scalars, like "
                    "{lr: {log: [1e-3, 1.0]}, batch_size: [16, 32]}"),
    "objectives": Option({}, lambda v: isinstance(v, Mapping), "columns with their directions, "
                         "like {test_accuracy: maximize}"),
    "seed": whole(0, 0, 2**31 - 1),
    "know": Option([], lambda v: isinstance(v, list) and all(isinstance(f, str) for f in v),
                   "a list of sweeps' folders", list),
    "options": Option({}, lambda v: isinstance(v, Mapping), "a map of the sampler's own options"),
}


@dataclass(frozen=True)
class Search:
    """A whole section ``search``. ``runs``: the budget, seeds counted. ``seeds``: runs a point.

    ``objectives``: column of ``runs``, without ``final_``, -> maximize or minimize. ``know``:
    folders of other sweeps whose rows are taken as known.
    """

    sampler: str
    runs: int
    seeds: int
    space: Space
    objectives: Mapping[str, str]
    seed: int
    know: tuple[str, ...]
    options: Mapping[str, Any]


def complete(given: Any) -> dict[str, Any]:
    """The section with its defaults, as plain values; InputError for what is wrong in its form."""
    if not isinstance(given, Mapping):
        raise InputError(f"search is {given!r}", key="sweep.search", fix="write a map: {sampler: "
                         "tpe, runs: 200, space: {…}, objectives: {…}}")
    if "sampler" in given and given["sampler"] not in SAMPLERS:
        raise InputError(f"unknown sampler `{given['sampler']}`", key="sweep.search.sampler",
                         fix=did_you_mean(given["sampler"], SAMPLERS, "samplers"))
    full = fill({n: v for n, v in given.items() if v is not None}, _TABLE,
                section="sweep.search", subject="search")
    for name, why in (("sampler", f"give one of {', '.join(SAMPLERS)}"),
                      ("runs", "give the budget, in runs: runs: 200"),
                      ("space", f"write {_TABLE['space'].wanted}")):
        if not full[name]:
            raise InputError(f"search has no {name}", key="sweep.search", fix=why)
    for name, values in full["space"].items():
        _dimension(name, values)
    full["options"] = fill(full["options"], SAMPLERS[full["sampler"]].options,
                           section="sweep.search.options", subject=full["sampler"])
    _check_objectives(full["sampler"], full["objectives"])
    if SAMPLERS[full["sampler"]].one_range:
        _check_range(full["sampler"], full["space"])
    if full["sampler"] == "break_point":
        _check_break_point(full)
    if full["runs"] < full["seeds"]:
        raise InputError(f"a budget of {full['runs']} runs is less than one point of "
                         f"{full['seeds']} seeds", key="sweep.search.runs",
                         fix="give more runs, or fewer seeds")
    return full


def read(full: Mapping[str, Any]) -> Search:
    """The Search of what ``complete`` has returned."""
    space = {name: _dimension(name, values) for name, values in full["space"].items()}
    objectives = {n.removeprefix("final_"): d for n, d in full["objectives"].items()}
    return Search(**{**full, "space": space, "objectives": objectives,
                     "know": tuple(full["know"])})


def _dimension(name: str, given: Any) -> Range | Choices:
    key = f"sweep.search.space.{name}"
    if name == "seed":
        raise InputError("a seed is nothing to search for", key=key,
                         fix="for several seeds a point write search: {seeds: 3}")
    if isinstance(given, list):
        if not given:
            raise InputError(f"`{name}` has no values", key=key, fix="list some, or give a range")
        distinct = {repr(v) for v in given}
        if len(distinct) < len(given):
            raise InputError(f"`{name}` has a value twice", key=key, fix="keep one of them")
        return Choices(tuple(given))
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in (
            "log", "linear"):
        raise InputError(f"`{name}` has no range: {given!r}", key=key,
                         fix="write {log: [1e-3, 1.0]}, {linear: [0, 0.95]}, or a list of choices")
    ((kind, ends),) = given.items()
    if not (isinstance(ends, list) and len(ends) == 2 and all(map(_real, ends))):
        raise InputError(f"the ends of `{name}` are {ends!r}", key=f"{key}.{kind}",
                         fix=f"write two numbers: {{{kind}: [0.01, 1.0]}}")
    low, high = ends
    if kind == "log" and low <= 0:
        raise InputError(f"the log range of `{name}` begins at {low:g}", key=f"{key}.{kind}",
                         fix="both ends of a log range are above 0; 0 may be in a linear one")
    if low >= high:
        raise InputError(f"the range of `{name}` goes from {low:g} to {high:g}",
                         key=f"{key}.{kind}", fix="give the smaller end first; a single value "
                         "belongs in train or model")
    return Range(low, high, kind == "log")


def _check_range(sampler: str, given: Mapping[str, Any]) -> None:
    space, key = {n: _dimension(n, v) for n, v in given.items()}, "sweep.search.space"
    ranges = [n for n, d in space.items() if isinstance(d, Range)]
    if len(ranges) != 1:
        raise InputError(f"{sampler} takes one range, and the space has {len(ranges)}", key=key,
                         fix="write lr: {log: [1e-3, 10]} and lists for the others, like "
                         "batch_size: [8, 32, 128]")
    (name,) = ranges
    if space[name].low <= 0:
        raise InputError(f"the range of `{name}` begins at {space[name].low:g}",
                         key=f"{key}.{name}", fix=f"{sampler} works on a log scale: begin above 0")
    if sampler == "break_point" and (name != "batch_size" or set(space) != {"ratio", name}):
        raise InputError("break_point takes the names ratio and batch_size", key=key, fix="write "
                         "ratio: [1e-3, 4e-3], batch_size: {log: [8, 512]}, and under sweep "
                         "derived: {lr: ratio * batch_size}")
    if sampler == "law" and (name != "lr" or "batch_size" not in space):
        raise InputError("a law is one of lr and batch_size", key=key, fix="write lr: {log: "
                         "[0.01, 1]}, batch_size: [8, 16, 32, 64, 128]")


def _check_break_point(full: Mapping[str, Any]) -> None:
    if full["seeds"] < 2:
        raise InputError("break_point has one seed", key="sweep.search.seeds", fix="give two or "
                         "more, better five: curves coincide within the noise between seeds")
    if full["know"]:
        raise InputError("break_point cannot take runs of other sweeps as known: it compares the "
                         "curves of this sweep's own tables", key="sweep.search.know",
                         fix="leave out know; to use those runs, search under that sweep's name "
                         "and storage")


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_objectives(sampler: str, objectives: Mapping[str, Any]) -> None:
    kind, count, key = SAMPLERS[sampler], len(objectives), "sweep.search.objectives"
    for name, direction in objectives.items():
        if direction not in DIRECTIONS:
            raise InputError(f"the direction of {name} is {direction!r}", key=f"{key}.{name}",
                             fix=did_you_mean(direction, DIRECTIONS, "directions"))
    if len({n.removeprefix("final_") for n in objectives}) < count:
        raise InputError("an objective is given twice", key=key, fix="keep one of the two")
    if count < kind.fewest:
        raise InputError(f"{sampler} has no objective" if not count else
                         f"{sampler} has {count} objective, and needs {kind.fewest}", key=key,
                         fix="write for instance objectives: {test_accuracy: maximize}")
    if count > kind.most:
        takes = "takes no objective" if not kind.most else f"takes {kind.most:g} objective"
        raise InputError(f"{sampler} {takes}, and {count} are given", key=key,
                         fix="keep fewer, or choose tpe or nsga2")
