"""A sweep's cells: axes, zip, derived, keep, include; and the run config of each cell."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import axes, sections
from orchestrator.errors import Problem, UserError
from orchestrator.expressions import Expression
from trainables import models
from trainables.errors import InputError
from trainables.options import did_you_mean


@dataclass(frozen=True)
class Cell:
    """One point of a sweep: dotted scalar -> value, for all that the sweep assigns."""

    values: Mapping[str, Any]


def check_sweep(spec: Any) -> list[Problem]:
    """What is wrong with the sweep's axes, expressions, zips and extra points, without a product."""
    checks = _Checks(spec)
    checks.axes()
    checks.expressions()
    checks.zips()
    checks.include()
    checks.assigned()
    return checks.problems


def count_cells(spec: Any) -> int:
    """An upper bound of the number of cells, without making any."""
    return math.prod(len(rows) for rows in _factors(spec)) + len(spec.sweep.include)


def expand(spec: Any, train_size: int) -> tuple[Cell, ...]:
    """All cells, in the order of the axes, each once. UserError where there is nothing to run."""
    cells: dict[str, Cell] = {}
    problems: dict[str, Problem] = {}
    for names, key in _points(spec, train_size, problems):
        try:
            values = _assigned(spec, names, train_size, key)
        except InputError as error:
            problems.setdefault(error.what, spec.problem(error.what, error.key, error.fix))
            continue
        cells.setdefault(json.dumps(values, sort_keys=True), Cell(values))
    if problems:
        raise UserError(*problems.values())
    if not cells:
        raise UserError(spec.problem("keep leaves no run", "sweep.keep",
                                     f"none of {count_cells(spec)} cells fulfils `{spec.sweep.keep}`"))
    return tuple(cells.values())


def run_configs(spec: Any, cells: tuple[Cell, ...]) -> list[dict[str, Any]]:
    """The whole config of each cell's run, the same however a value came about."""
    return [_config(spec, cell) for cell in cells]


def _config(spec: Any, cell: Cell) -> dict[str, Any]:
    config = {
        "data": dict(spec.data), "model": dict(spec.model), "train": dict(spec.train),
        "noise": dict(spec.noise), "seed": 0, "precision": spec.compute.precision,
        "measure": {"when": dict(spec.measure.when), "set_size": spec.measure.set_size,
                    "monitors": [[n, dict(o)] for n, o in spec.measure.monitors]},
    }
    for path, value in cell.values.items():
        section, _, key = path.partition(".")
        if key:
            config[section][key] = value
        else:
            config[path] = value
    config["model"] = models.resolve(config["model"])
    return config


def _factors(spec: Any) -> list[list[tuple[tuple[str, Any], ...]]]:
    """The independent directions of the grid: single axes, and zipped ones as one."""
    lists = {n: axes.values(n, v) for n, v in spec.sweep.axes.items()}
    zipped = {n: tuple(group) for group in spec.sweep.zip for n in group}
    done, factors = set(), []
    for name in lists:
        group = zipped.get(name, (name,))
        if group not in done:
            done.add(group)
            rows = zip(*(lists[n] for n in group), strict=True)
            factors.append([tuple(zip(group, row, strict=True)) for row in rows])
    return factors


def _points(spec: Any, train_size: int, problems: dict[str, Problem]
            ) -> Iterator[tuple[dict[str, Any], str]]:
    """Named values of every cell that ``keep`` keeps, and of every extra point."""
    derived = {n: Expression(e, f"sweep.derived.{n}") for n, e in spec.sweep.derived.items()}
    keep = Expression(spec.sweep.keep, "sweep.keep") if spec.sweep.keep is not None else None
    for combination in itertools.product(*_factors(spec)):
        names = dict(itertools.chain.from_iterable(combination))
        try:
            full = _derive(spec, names, derived, train_size)
            kept = keep is None or bool(keep.value(_surroundings(spec, full, train_size)))
        except InputError as error:
            problems.setdefault(error.what, spec.problem(error.what, error.key, error.fix))
            continue
        if kept:
            yield full, "sweep.axes"
    for i, point in enumerate(spec.sweep.include):
        needed = {n: e for n, e in derived.items() if n not in point
                  and e.names <= set(_surroundings(spec, point, train_size))}
        yield _derive(spec, dict(point), needed, train_size), f"sweep.include.{i}"


def _derive(spec: Any, names: dict[str, Any], derived: Mapping[str, Expression],
            train_size: int) -> dict[str, Any]:
    for name, expression in derived.items():
        value = expression.value(_surroundings(spec, names, train_size))
        names = {**names, name: axes.rounded(value)}
    return names


def _surroundings(spec: Any, names: Mapping[str, Any], train_size: int) -> dict[str, Any]:
    """What an expression sees: the constants of train and model, noises, seed, axes, derived."""
    noises = {n: spec.noise[short] for n, (short, _) in sections.NOISE.items()}
    known = {**_numbers(spec.model), **_numbers(spec.train), **noises, "seed": 0,
             "train_size": train_size, **names}
    if spec.train["batch_size"] == "full":
        known.setdefault("batch_size", train_size)
    return {n: train_size if n == "batch_size" and v == "full" else v for n, v in known.items()}


def _numbers(section: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in section.items() if isinstance(v, int | float | str) and k != "name"}


def _assigned(spec: Any, names: Mapping[str, Any], train_size: int, key: str) -> dict[str, Any]:
    """Checked dotted scalars of one cell; InputError for what is out of bounds."""
    found: dict[str, Any] = {}
    for path in ("train.lr", "train.batch_size"):
        if spec.train[path[6:]] is not None:
            found[path] = spec.train[path[6:]]
    for name, value in names.items():
        path = axes.scalar(name, spec.model)
        if path is not None:
            found[path] = _checked(spec, name, path, value, key)
    if found.get("train.batch_size") == "full":
        found["train.batch_size"] = train_size
    for path in ("train.lr", "train.batch_size"):
        if path not in found:
            raise InputError(f"a cell has no {path[6:]}", key=key,
                             fix=f"give {path[6:]} in train, as an axis, or under derived")
    batch = found["train.batch_size"]
    if batch > train_size:
        at = "sweep.axes.batch_size" if "batch_size" in spec.sweep.axes else "train.batch_size"
        raise InputError(f"batch_size {batch} is larger than the training set of {train_size}",
                         key=at, fix=f"at most {train_size}; `full` is the whole set")
    return found


def _checked(spec: Any, name: str, path: str, value: Any, key: str) -> Any:
    at = f"sweep.derived.{name}" if name in spec.sweep.derived else (
        f"sweep.axes.{name}" if name in spec.sweep.axes else f"{key}.{name}")
    option = axes.option(path)
    if option is None:
        model = models.resolve({**spec.model, path[6:]: value})
        return model[path[6:]]
    if path == "train.batch_size" and isinstance(value, float) and value.is_integer():
        value = int(value)  # a derived S is a float
    if value is None or not option.accepts(value):
        raise InputError(f"{name} is {value!r}", key=at, fix=f"write {option.wanted}")
    return axes.rounded(option.cast(value))


class _Checks:
    """The checks of a sweep's description; each problem is located at its key."""

    def __init__(self, spec: Any):
        self._spec, self.problems = spec, []
        self._lengths: dict[str, int] = {}
        self._free: set[str] = set()

    def _fail(self, error: InputError) -> None:
        self.problems.append(self._spec.problem(error.what, error.key, error.fix))

    def axes(self) -> None:
        """Every axis has values, and every value suits what it names."""
        for name, given in self._spec.sweep.axes.items():
            try:
                found = axes.values(name, given)
                self._lengths[name] = len(found)
                self._check_values(name, found)
            except InputError as error:
                self._fail(error)

    def _check_values(self, name: str, found: list[Any]) -> None:
        path = axes.scalar(name, self._spec.model)
        if path is None:
            self._free.add(name)
            return
        for i, value in enumerate(found):
            try:
                _checked(self._spec, name, path, value, "sweep.axes")
            except InputError as error:
                self._fail(InputError(error.what, fix=error.fix, key=f"sweep.axes.{name}.{i}"))

    def expressions(self) -> None:
        """Derived and keep use known names only; every free axis is used."""
        sweep, used = self._spec.sweep, set()
        known = set(_surroundings(self._spec, dict.fromkeys(sweep.axes, 1), 1))
        known -= {n for n in ("lr", "batch_size") if n not in sweep.axes and not self._spec.train[n]}
        for name, text in (*sweep.derived.items(), ("", sweep.keep)):
            key = f"sweep.derived.{name}" if name else "sweep.keep"
            if text is None:
                continue
            try:
                names = Expression(text, key).names
                for unknown in sorted(names - known):
                    raise InputError(f"`{text}` uses `{unknown}`, which is not known here", key=key,
                                     fix=did_you_mean(unknown, sorted(known), "names")[:400])
                used |= names
                if name:
                    axes.scalar(name, self._spec.model)
            except InputError as error:
                self._fail(error)
            known.add(name)
        for name in sorted(self._free - used):
            scalars = [*sections.NOISE, "seed", *sections.TRAIN, *self._spec.model]
            self._fail(InputError(f"the axis `{name}` names no scalar and nothing uses it",
                                  key=f"sweep.axes.{name}",
                                  fix=did_you_mean(name, scalars, "scalars")[:400]))

    def zips(self) -> None:
        """Zipped axes exist, are zipped once, and are equally long."""
        seen: set[str] = set()
        for i, group in enumerate(self._spec.sweep.zip):
            key = f"sweep.zip.{i}"
            if not isinstance(group, list) or not all(isinstance(n, str) for n in group):
                self._fail(InputError("zip is a list of lists of axes", key=key,
                                      fix="write zip: [[lr, batch_size]]"))
                continue
            for name in group:
                if name not in self._spec.sweep.axes or name in seen:
                    why = "is zipped twice" if name in seen else "is no axis"
                    self._fail(InputError(f"`{name}` {why}", key=key,
                                          fix=did_you_mean(name, self._spec.sweep.axes, "axes")))
                seen.add(name)
            lengths = {n: self._lengths[n] for n in group if n in self._lengths}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{n} has {c} values" for n, c in lengths.items())
                self._fail(InputError(f"zipped axes differ in length: {told}", key=key,
                                      fix="give them equally many values"))

    def include(self) -> None:
        """Extra points are maps of known scalars."""
        known = set(self._spec.sweep.axes) | set(self._spec.sweep.derived)
        for i, point in enumerate(self._spec.sweep.include):
            key = f"sweep.include.{i}"
            if not isinstance(point, dict) or not point:
                self._fail(InputError("an extra point is a map", key=key,
                                      fix="write include: [{lr: 0.1, batch_size: 32}]"))
                continue
            for name, value in point.items():
                try:
                    path = axes.scalar(name, self._spec.model)
                    if path is None and name not in known:
                        raise InputError(f"`{name}` names no scalar", key=f"{key}.{name}",
                                         fix=did_you_mean(name, sections.TRAIN, "scalars")[:400])
                    if path is not None:
                        _checked(self._spec, name, path, value, key)
                except InputError as error:
                    self._fail(error)

    def assigned(self) -> None:
        """lr and batch_size come from somewhere."""
        sweep = self._spec.sweep
        for name in ("lr", "batch_size"):
            if self._spec.train[name] is None and name not in {*sweep.axes, *sweep.derived} and not (
                    sweep.include and all(name in p for p in sweep.include) and not sweep.axes):
                self._fail(InputError(f"no run has a {name}", key="train",
                                      fix=f"give {name} in train, as an axis, or under derived"))
