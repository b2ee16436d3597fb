"""What can be told of a sweep before its data is read: forms, names, bounds, what is missing."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator import axes, grid, sections, training
from orchestrator.errors import MOST, Problem
from orchestrator.expressions import FUNCTIONS, Expression
from orchestrator.names import constants
from orchestrator.spec import Spec
from trainables.errors import InputError
from trainables.options import did_you_mean

_RESERVED = {"true", "false", *FUNCTIONS}


def check_sweep(spec: Spec, given: Mapping[str, Any], wrong: Collection[str]) -> list[Problem]:
    """All problems of the sweep, without making its product.

    ``given`` is the section train as written, ``wrong`` the keys that are told of already: what
    they left out is not missed again. A model that is not known is empty.
    """
    checks = _Checks(spec, given, wrong)
    for check in (checks.values, checks.names, checks.expressions, checks.zips, checks.points,
                  checks.assigned, checks.lengths, checks.monitors):
        check()
    return [spec.problem(e.what, e.key, e.fix) for e in checks.told]


class _Checks:
    def __init__(self, spec: Spec, given: Mapping[str, Any], wrong: Collection[str]):
        self._spec, self._sweep, self._given, self._wrong = spec, spec.sweep, given, wrong
        self._model_known = bool(spec.model)
        self._names_known = self._model_known and not {"sweep.axes", "sweep.derived"} & {*wrong}
        # An unknown key may be meant to be what is missing.
        self._slip = any(k.startswith("sweep.") for k in wrong) or not (
            given.keys() <= {*sections.TRAIN, *sections.NOISE})
        self.told: list[InputError] = []
        self._lengths: dict[str, int] = {}
        # Where each name is first assigned. An extra point gives again what the grid gives.
        self._assigned = {n: f"sweep.axes.{n}" for n in self._sweep.axes} | {
            n: f"sweep.derived.{n}" for n in self._sweep.derived}

    def _tell(self, what: str, key: str, fix: str) -> None:
        if len(self.told) < MOST:
            self.told.append(InputError(what, key=key, fix=fix))

    def _path(self, name: str, key: str) -> str | None:
        """The dotted scalar that a name stands for, if any."""
        try:
            return axes.scalar(name, self._spec.model)
        except InputError as error:
            if self._model_known or not name.startswith("model."):
                self._tell(error.what, key, error.fix)
            return None

    def _suits(self, path: str | None, value: Any, key: str) -> bool:
        try:
            if path is not None:
                axes.canonical(path, value, self._spec.model, key)
            return True
        except InputError as error:
            self._tell(error.what, error.key, error.fix)
            return False

    def values(self) -> None:
        """Every axis has values, and every value suits what it names."""
        for name, given in self._sweep.axes.items():
            key = f"sweep.axes.{name}"
            path = self._path(name, key)
            try:
                found = axes.values(name, given)
            except InputError as error:
                self._tell(error.what, error.key, error.fix)
                continue
            self._lengths[name] = len(found)
            if isinstance(given, list):
                for i, value in enumerate(found):
                    self._suits(path, value, f"{key}.{i}")
            else:  # one problem tells all; values between the ends show it best
                all(self._suits(path, value, key) for value in (*found[1:-1], *found))

    def names(self) -> None:
        """No two names for one scalar, and none that means something else."""
        seen: dict[str, str] = {}
        for place, names in (("axes", self._sweep.axes), ("derived", self._sweep.derived)):
            for name in names:
                key = f"sweep.{place}.{name}"
                path = self._path(name, key) if place == "derived" else _scalar(name, self._spec)
                meant = path or name
                if name in _RESERVED:
                    self._tell(f"`{name}` cannot be swept", key, "choose another name")
                elif meant in seen:
                    self._tell(f"`{name}` is given twice: {seen[meant]} too", key,
                               "keep one of the two")
                seen.setdefault(meant, key)

    def expressions(self) -> None:
        """Expressions use known names only, and every free variable is used."""
        known = self._known_names()
        used: set[str] = set()
        keep = [] if self._sweep.keep is None else [("sweep.keep", self._sweep.keep)]
        for key, text in (*((self._assigned[n], e) for n, e in self._sweep.derived.items()), *keep):
            try:
                names = Expression(text, key).names
            except InputError as error:
                self._tell(error.what, error.key, error.fix)
                names = frozenset()
            used |= names
            if unknown := sorted(names - known) if self._names_known else []:
                later = " (derived are computed from top to bottom)" * (
                    unknown[0] in self._sweep.derived)
                self._tell(f"`{text}` uses `{unknown[0]}`, which is not known here{later}", key,
                           did_you_mean(unknown[0], sorted(n for n in known if "." not in n),
                                        "names"))
            known |= self._aliases(key.removeprefix("sweep.derived."))
        unused = self._names_known and "sweep.keep" not in self._wrong
        for name in self._sweep.axes if unused else ():
            if _scalar(name, self._spec) is None and "." not in name and name not in used:
                self._tell(f"the axis `{name}` names no scalar, and nothing uses it",
                           self._assigned[name], axes.nearest(name, self._spec.model))

    def _known_names(self) -> set[str]:
        """Names with a value in the grid; a constant that is wrong has one too, of some kind."""
        given = {n for n in ("lr", "batch_size", *grid.LENGTHS) if self._given.get(n) is not None}
        known = set(constants(self._spec, 1)).union(*map(self._aliases, training.nested()))
        return known.union(*map(self._aliases, (*given - {"until"}, *self._sweep.axes)))

    def _aliases(self, name: str) -> set[str]:
        try:
            return set(axes.aliases(name, self._spec.model))
        except InputError:
            return {name}

    def zips(self) -> None:
        """Zipped axes exist, are zipped once, and are equally long."""
        seen: set[str] = set()
        for i, group in enumerate(self._sweep.zip):
            key = f"sweep.zip.{i}"
            if not isinstance(group, list) or not all(isinstance(n, str) for n in group):
                self._tell(f"zip has {group!r}, not a list of axes", key,
                           "write zip: [[lr, batch_size]]")
                return
            for name in group:
                if name not in self._sweep.axes and "sweep.axes" not in self._wrong:
                    self._tell(f"`{name}` is no axis", key,
                               did_you_mean(name, self._sweep.axes, "axes"))
                elif name in seen:
                    self._tell(f"`{name}` is zipped twice", key, "keep it in one group")
                seen.add(name)
            lengths = {n: self._lengths[n] for n in group if n in self._lengths}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{n} has {c} values" for n, c in lengths.items())
                self._tell(f"zipped axes differ in length: {counts}", key,
                           "give them equally many values")

    def points(self) -> None:
        """Extra points are maps of known scalars."""
        for i, point in enumerate(self._sweep.include):
            key = f"sweep.include.{i}"
            if not isinstance(point, dict) or not point:
                self._tell(f"an extra point is {point!r}", key,
                           "write include: [{lr: 0.1, batch_size: 32}]")
                continue
            paths = [self._included(name, value, f"{key}.{name}") for name, value in point.items()]
            for path in {p for p in paths if p is not None and paths.count(p) > 1}:
                self._tell(f"the extra point gives {path} twice", key, "keep one of the two")

    def _included(self, name: str, value: Any, key: str) -> str | None:
        path = self._path(name, key)
        self._suits(path, value, key)
        if path is None and "." not in name and self._names_known and name not in self._assigned:
            self._tell(f"`{name}` names no scalar", key, axes.nearest(name, self._spec.model))
        elif path is None and not isinstance(value, int | float | str):
            self._tell(f"{name} is {value!r}", key, "write a number")
        return path

    def assigned(self) -> None:
        """lr and batch_size come from somewhere; what needs momentum may have some."""
        swept = self._swept()
        for name in () if self._slip else ("lr", "batch_size"):
            if self._given.get(name) is None and f"train.{name}" not in swept:
                self._tell(f"there is no {name}", "train",
                           f"give {name} in train, as an axis, or under derived")
        momentum = self._given.get("momentum") or "train.momentum" in swept
        if self._given.get("nesterov") is True and not momentum and "train.nesterov" not in swept:
            self._tell("nesterov without momentum", "train.nesterov",
                       "give a momentum above 0, or remove nesterov")

    def lengths(self) -> None:
        """A run is as long as one of epochs, steps, until says."""
        swept = self._swept()
        given = [n for n in grid.LENGTHS if self._given.get(n) is not None]
        among = [n for n in grid.LENGTHS if f"train.{n}" in swept]
        both = list(dict.fromkeys((*given, *among)))
        if (not both and not self._slip) or len(given) > 1 or (given and len(both) > 1):
            found = " and ".join(both) or "none"
            self._tell(f"a run needs one of epochs, steps and until; found {found}", "train",
                       "write for instance `epochs: 40`")

    def monitors(self) -> None:
        """What a monitor asks for exists in some run."""
        measure, optimizer = self._spec.measure, (self._spec.train or {}).get("optimizer")
        asked = dict(measure.monitors).get("spectrum", {}) if measure else {}
        given = (optimizer and optimizer["name"] == "adam") or "train.optimizer" in self._swept()
        if asked.get("preconditioned") and not given:
            self._tell("spectrum: preconditioned asks for Adam's preconditioner, and no run has "
                       "one", "measure.monitors", "train with optimizer: adam, or leave it out")

    def _swept(self) -> set[str | None]:
        names: Iterable[str] = (*self._assigned, *(
            n for p in self._sweep.include if isinstance(p, dict) for n in p))
        return {_scalar(n, self._spec) for n in names}


def _scalar(name: str, spec: Spec) -> str | None:
    try:
        return axes.scalar(name, spec.model)
    except InputError:
        return None
