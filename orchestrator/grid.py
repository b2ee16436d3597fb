"""A sweep's cells: axes, zip, derived, keep, include; and the whole config of each cell's run."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import axes, sections, training
from orchestrator.errors import UserError
from orchestrator.expressions import Expression
from orchestrator.names import BATCH, SIZE, Names
from orchestrator.spec import Spec
from trainables import models
from trainables.errors import InputError

MOST_SNAPSHOTS = 1_000_000  # of one run; beyond it the list of measuring steps is a burden itself
LENGTHS = ("epochs", "steps", "until")


@dataclass(frozen=True)
class Cell:
    """One point of a sweep: dotted scalar -> value.

    Every cell of a sweep has the same scalars: lr, batch_size, and all that an axis, a derived
    expression or an extra point assigns.
    """

    values: Mapping[str, Any]


def count_cells(spec: Spec) -> int:
    """An upper bound of the number of cells, without making any."""
    grid = math.prod(len(rows) for rows in _factors(spec)) if _has_grid(spec) else 0
    return grid + len(spec.sweep.include)


def expand(spec: Spec, train_size: int) -> tuple[Cell, ...]:
    """All cells, in the order of the axes as written, each once; the extra points last.

    UserError with all that is wrong with them, or where there is nothing to run.
    """
    made = Expansion(spec, train_size)
    cells: dict[str, Cell] = {}
    for point in _points(spec):
        cell = made.cell(point)
        if cell is not None:
            cells.setdefault(json.dumps(cell.values), cell)
    made.raise_problems()
    if not cells:
        raise UserError(spec.problem(
            "keep leaves no run", "sweep.keep",
            f"none of {count_cells(spec):,} cells fulfils `{spec.sweep.keep}`"))
    return tuple(cells.values())


def run_configs(spec: Spec, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The whole config of each cell's run, the same however its values came about.

    Configs share what is equal in them (data, measure, models): they are to be read, not changed.
    """
    common = {
        "precision": spec.compute.precision,
        "measure": {"when": dict(spec.measure.when), "set_size": spec.measure.set_size,
                    "monitors": [[n, dict(o)] for n, o in spec.measure.monitors]},
    }
    return [{**common, **sections} for sections in map(_Sections(spec), cells)]


def _has_grid(spec: Spec) -> bool:
    return bool(spec.sweep.axes) or not spec.sweep.include


def _factors(spec: Spec) -> list[list[tuple[tuple[str, Any], ...]]]:
    """The independent directions of the grid: single axes, and zipped ones as one."""
    lists = {n: axes.values(n, v) for n, v in spec.sweep.axes.items()}
    zipped = {n: tuple(group) for group in spec.sweep.zip for n in group}
    factors = []
    for group in dict.fromkeys(zipped.get(name, (name,)) for name in lists):
        rows = zip(*(lists[n] for n in group), strict=True)
        factors.append([tuple(zip(group, row, strict=True)) for row in rows])
    return factors


@dataclass(frozen=True)
class _Point:
    given: Mapping[str, Any]
    key: str  # "sweep.axes", or of an extra point "sweep.include.0"

    @property
    def extra(self) -> bool:
        return self.key != "sweep.axes"

    def __str__(self) -> str:
        return ", ".join(f"{n}={_shown(v)}" for n, v in self.given.items())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {_shown(v)}' for k, v in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _points(spec: Spec) -> Iterator[_Point]:
    if _has_grid(spec):
        for combination in itertools.product(*_factors(spec)):
            yield _Point(dict(itertools.chain.from_iterable(combination)), "sweep.axes")
    for i, given in enumerate(spec.sweep.include):
        yield _Point(given, f"sweep.include.{i}")


class _Models:
    """Resolved models, each of a sweep's combinations once."""

    def __init__(self, spec: Spec):
        self._base, self._known = spec.model, {}

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        own = {p[6:]: v for p, v in values.items() if p.startswith("model.")}
        key = json.dumps(own)
        if key not in self._known:
            self._known[key] = sections.rounded(models.resolve({**self._base, **own}))
        return self._known[key]


class Expansion:
    """Points to cells: computes what is derived, filters, checks; keeps what is wrong."""

    def __init__(self, spec: Spec, train_size: int):
        self._spec, self._size, self._models = spec, train_size, _Models(spec)
        self._derived = {n: Expression(e, f"sweep.derived.{n}")
                         for n, e in spec.sweep.derived.items()}
        keep = spec.sweep.keep
        self._keep = None if keep is None else Expression(keep, "sweep.keep")
        self._names = Names(spec, train_size)
        self._paths = self._names.paths
        self._defaults = self._default_values()
        self._wrong: dict[tuple[str, str], tuple[InputError, _Point, int]] = {}
        self._right: set[str] = set()  # values that were checked, whatever the seed

    def _default_values(self) -> dict[str, Any]:
        """Every assigned scalar with its constant, in an order that the sweep has no say in.

        None for an option of a schedule or optimiser, which is in their own map.
        """
        base = {"train": self._spec.train, "noise": self._spec.noise, "model": self._spec.model}
        every = [f"{section}.{key}" for section, values in base.items() for key in values]
        assigned = {"train.lr", BATCH, *self._paths.values()}
        found = {p: base[p.partition(".")[0]][p.partition(".")[2]] for p in every if p in assigned}
        nested = {p: None for p in sorted(filter(None, assigned))
                  if training.option(p.removeprefix("train.")) is not None}
        return found | nested | ({SIZE: self._size} if SIZE in assigned else {}) | (
            {"seed": 0} if "seed" in assigned else {})

    def cell(self, point: _Point) -> Cell | None:
        """The point's cell; None where it is filtered or wrong."""
        try:
            names = self._named(point)
            if self._keep is not None and not point.extra and not self._kept(names):
                return None
            return Cell(self._values(point, names))
        except InputError as error:
            # One problem a place, with the first point where it shows.
            place = error.key, error.fix
            first, where, count = self._wrong.get(place, (error, point, 0))
            self._wrong[place] = first, where, count + 1
            return None

    def at(self, values: Mapping[str, Any]) -> Cell | None:
        """The cell at these values of all axes; None where it is filtered or wrong."""
        return self.cell(_Point(values, "sweep.axes"))

    def raise_problems(self) -> None:
        """UserError, if anything was wrong."""
        problems = []
        for error, point, count in self._wrong.values():
            more = f" and {count - 1:,} more" if count > 1 else ""
            at = f" (at {point}{more})" if point.given else ""
            problems.append(self._spec.problem(f"{error.what}{at}", error.key, error.fix))
        if problems:
            raise UserError(*problems)

    def _named(self, point: _Point) -> dict[str, Any]:
        """All names with their values at this point."""
        names = self._names.of(point.given)
        given = {self._paths[n] or n for n in point.given}
        for name, expression in self._derived.items():
            own = (self._paths[name] or name) in given
            if not own and not (point.extra and not expression.names <= names.keys()):
                value = sections.rounded(expression.value(names))
                self._names.bind(names, name, value, point.given)
        return names

    def _kept(self, names: Mapping[str, Any]) -> bool:
        kept = self._keep.value(names) if self._keep is not None else True
        if not isinstance(kept, bool):
            raise InputError(f"keep is {kept!r}, not a condition", key="sweep.keep",
                             fix="compare something: 1e-4 <= ratio <= 1e-2")
        return kept

    def _values(self, point: _Point, names: Mapping[str, Any]) -> dict[str, Any]:
        """The checked scalars of a kept point."""
        found = dict(self._defaults)
        for name, path in self._paths.items():
            key, computed = self._place(point, name)
            if path is not None and (name in point.given or (computed and name in names)):
                value = point.given[name] if name in point.given else names[name]
                found[path] = axes.canonical(path, value, self._spec.model, key, computed=computed)
        if found[BATCH] == "full":
            found[BATCH] = found.get(SIZE, self._size)
        values = _but_the_seed(found)
        if values not in self._right:
            self._check(point, found)
        self._right.add(values)
        return found

    def _place(self, point: _Point, name: str) -> tuple[str, bool]:
        """The key at which a name gets its value, and whether that is computed."""
        if name in point.given:
            return f"{point.key}.{name}", False
        return f"sweep.derived.{name}", name in self._derived

    def _check(self, point: _Point, found: Mapping[str, Any]) -> None:
        """What concerns several scalars at once."""
        train = training.folded({
            **self._spec.train, **{p[6:]: v for p, v in found.items() if p[:6] == "train."}})
        for name in ("lr", "batch_size"):
            if train[name] is None:
                raise InputError(f"a cell has no {name}", key=point.key,
                                 fix=f"give {name} in train, as an axis, or under derived")
        if sum(train[name] is not None for name in LENGTHS) != 1:
            raise InputError("a cell has no length, or two", key=point.key,
                             fix=f"give one of {', '.join(LENGTHS)} in train, or as an axis")
        if train["nesterov"] and not train["momentum"]:
            raise InputError("nesterov without momentum", key="train.nesterov",
                             fix="give a momentum above 0, or remove nesterov")
        self._check_sizes(point, train, found.get(SIZE, self._size))
        try:
            self._models(found)
        except InputError as error:
            raise InputError(error.what, key=point.key, fix=error.fix) from None

    def _check_sizes(self, point: _Point, train: Mapping[str, Any], size: int) -> None:
        batch = train["batch_size"]
        if batch > size:
            keys = [self._place(point, n)[0] for n, p in self._paths.items()
                    if p == BATCH and (n in point.given or n in self._derived)]
            raise InputError(f"batch_size {batch} is larger than the training set of {size}",
                             key=[*keys, BATCH][0],
                             fix=f"at most {size}; `full` is the whole set")
        training.check(train, size)
        batch = training.smallest_batch(train)
        epochs = train["epochs"] or (train["until"] or {}).get("max_epochs")
        steps = train["steps"] or epochs * (size // batch)
        when = self._spec.measure.when
        every = min(when["every_steps"] or steps,
                    (when["every_epochs"] or math.inf) * (size // batch))
        if steps / every > MOST_SNAPSHOTS:
            raise InputError(f"a run has about {steps / every:,.0f} snapshots", key="measure.when",
                             fix=f"measure less often: at most {MOST_SNAPSHOTS:,} times a run")


class _Sections:
    """What a sweep may change of a run's config; runs that differ in the seed alone share it."""

    def __init__(self, spec: Spec):
        self._spec, self._models, self._known = spec, _Models(spec), {}
        self._data: dict[int | None, dict[str, Any]] = {}  # one object a size

    def __call__(self, cell: Cell) -> dict[str, Any]:
        key = _but_the_seed(cell.values)
        if key not in self._known:
            self._known[key] = self._made(cell)
        return {**self._known[key], "seed": cell.values.get("seed", 0)}

    def _made(self, cell: Cell) -> dict[str, Any]:
        config = {"train": dict(self._spec.train), "noise": dict(self._spec.noise)}
        for path, value in cell.values.items():
            section, _, key = path.partition(".")
            if section in config:
                config[section][key] = value
        folded, size = training.folded(config["train"]), cell.values.get(SIZE)
        data = self._data.setdefault(size, {
            **self._spec.data, **({} if size is None else {"train_size": size})})
        return {"data": data, "model": self._models(cell.values), **config, "train": folded}


def _but_the_seed(values: Mapping[str, Any]) -> str:
    """Equal for cells of one sweep that differ in the seed at most."""
    return repr([pair for pair in values.items() if pair[0] != "seed"])
