"""A spec: one YAML file, checked as a whole. Every problem of the file is told at once."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import sections, strictyaml
from orchestrator.errors import Problem, UserError
from orchestrator.presets import find_preset
from trainables.errors import InputError
from trainables.options import did_you_mean

Marks = Mapping[strictyaml.Path, tuple[int, int]]


@dataclass(frozen=True)
class Sweep:
    """The section ``sweep`` as given; orchestrator/grid.py makes cells of it."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    derived: Mapping[str, Any] = field(default_factory=dict)
    keep: str | None = None
    zip: Sequence[Sequence[str]] = ()
    include: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Spec:
    """A resolved spec, and where it came from."""

    name: str
    storage: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    noise: Mapping[str, float]
    sweep: Sweep
    measure: sections.Measure
    save: sections.Save
    compute: sections.Compute
    claims: tuple[str, ...]
    base_dir: Path
    text: str
    source: str
    marks: Marks = field(repr=False)
    overridden: Mapping[strictyaml.Path, str] = field(default_factory=dict)

    def resolved(self) -> dict[str, Any]:
        """The whole spec as a tree of plain values."""
        tree = {
            "name": self.name, "storage": self.storage, "data": self.data, "model": self.model,
            "train": {**self.train, **{f"{k}_noise": v for k, v in self.noise.items()}},
            **{n: dataclasses.asdict(getattr(self, n))
               for n in ("sweep", "measure", "save", "compute")},
            "claims": self.claims,
        }
        return json.loads(json.dumps(tree))

    def problem(self, what: str, key: str = "", fix: str = "") -> Problem:
        """A problem at a dotted key, located in the YAML."""
        return _located(InputError(what, key=key, fix=fix), self.source, self.marks, self.overridden)


def load_spec(source: str, overrides: Sequence[str] = ()) -> Spec:
    """The spec of a file or preset, with ``key=value`` overrides; UserError with all problems."""
    path, base_dir = _find(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(Problem(f"cannot read {path}: {error.strerror}", source)) from None
    document = strictyaml.load(content, source)
    if not isinstance(document.data, dict):
        raise UserError(Problem("a spec is a map of sections", f"{source}:1:1",
                                f"sections: {', '.join(sections.TOP)}"))
    overridden = _override(document.data, overrides)
    reader = _Reader(document.data, source, document.marks, overridden)
    return reader.spec(base_dir, content.decode("utf-8-sig"))


def _find(source: str) -> tuple[Path, Path]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.exists() or "/" in source:
        if path.is_dir():
            raise UserError(Problem(f"{source} is a folder", fix="give the YAML file"))
        if not path.exists():
            raise UserError(Problem(f"there is no file {source}",
                                    fix="give a YAML file or a preset (see `sgdscope presets`)"))
        return path, path.absolute().parent
    return find_preset(source).path, Path.cwd()


def _override(tree: dict[str, Any], overrides: Sequence[str]) -> dict[strictyaml.Path, str]:
    """Sets ``key=value`` texts in the tree; the paths that were set, and how to call them."""
    set_: dict[strictyaml.Path, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        where = f"-s {key}"
        if not equals or not key or any(not part for part in key.split(".")):
            raise UserError(Problem(f"`-s {text}` is not KEY=VALUE", where,
                                    "write for instance -s train.epochs=5"))
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[last] = strictyaml.load_value(value, where) if value else None
        set_[tuple(key.split("."))] = where
    return set_


def _located(error: InputError, source: str, marks: Marks,
             overridden: Mapping[strictyaml.Path, str]) -> Problem:
    parts: strictyaml.Path = tuple(
        int(p) if p.isdigit() else p for p in error.key.split(".")) if error.key else ()
    for length in range(len(parts), -1, -1):
        part = parts[:length]
        if part in overridden:
            return Problem(error.what, overridden[part], error.fix)
        if part in marks:
            line, column = marks[part]
            tail = f" ({error.key})" if error.key else ""
            return Problem(error.what, f"{source}:{line}:{column}{tail}", error.fix)
    return Problem(error.what, source, error.fix)


class _Reader:
    """Resolves section by section and collects what is wrong in each."""

    def __init__(self, tree: Mapping[str, Any], source: str, marks: Marks,
                 overridden: Mapping[strictyaml.Path, str]):
        self._tree, self._place = tree, (source, marks, overridden)
        self._problems: list[Problem] = []

    def _fail(self, error: InputError) -> None:
        self._problems.append(_located(error, *self._place))

    def _section(self, key: str, resolve: Callable[[Any], Any], *, default: Any = None,
                 kind: type | None = dict) -> Any:
        given = self._tree.get(key, default)
        if kind is not None and not isinstance(given, kind):
            what = f"{key} is missing" if key not in self._tree else f"{key} is {given!r}"
            form = "a map of options" if kind is dict else "a list"
            self._fail(InputError(what, key=key, fix=f"write `{key}:` as {form}"))
            return None
        return self._every(resolve, given, key)

    def _every(self, resolve: Callable[[Any], Any], given: Any, key: str, *,
               again: bool = False) -> Any:
        """``resolve(given)``; where it fails at one key of a map, the others are tried too."""
        try:
            return resolve(given)
        except InputError as error:
            if again and error.key == key:  # what the key left out would have met
                return None
            self._fail(error)
            bad = error.key.removeprefix(f"{key}.").split(".")[0]
            if isinstance(given, dict) and bad in given and bad != "name":
                self._every(resolve, {k: v for k, v in given.items() if k != bad}, key, again=True)
            return None

    def spec(self, base_dir: Path, text: str) -> Spec:
        """The Spec; UserError with every problem found."""
        from trainables import datasets, models

        for key in self._tree:
            if key not in sections.TOP:
                self._fail(InputError(f"unknown key `{key}`", key=key,
                                      fix=did_you_mean(key, sections.TOP, "sections")))
        found = {
            "name": self._section("name", sections.name, kind=None),
            "storage": self._section("storage", sections.storage, default="./sweeps", kind=None),
            "data": self._section("data", datasets.resolve),
            "model": self._section("model", models.resolve),
            "sweep": self._section("sweep", _sweep, default={}),
            "measure": self._section("measure", sections.measure, default={}),
            "save": self._section("save", _filled("save", sections.SAVE, sections.Save), default={}),
            "compute": self._section(
                "compute", _filled("compute", sections.COMPUTE, sections.Compute), default={}),
            "claims": self._section("claims", sections.claims, default=[], kind=list),
        }
        trained = self._section("train", sections.train)
        if self._problems:
            raise UserError(*self._problems)
        train, noise = trained
        source, marks, overridden = self._place
        spec = Spec(**found, train=train, noise=noise, base_dir=base_dir, text=text, source=source,
                    marks=marks, overridden=overridden)
        from orchestrator.grid import check_sweep

        if problems := check_sweep(spec):
            raise UserError(*problems)
        return spec


def _filled(key: str, table: Any, form: type) -> Callable[[Any], Any]:
    from trainables.options import fill

    return lambda given: form(**fill(given, table, section=key, subject=key))


def _sweep(given: Mapping[str, Any]) -> Sweep:
    kinds = {"axes": dict, "derived": dict, "keep": str, "zip": list, "include": list}
    for key, value in given.items():
        if key == "search":
            raise InputError("guided search is not available yet", key="sweep.search",
                             fix="describe the grid by axes:")
        if key not in kinds:
            raise InputError(f"sweep has no option `{key}`", key=f"sweep.{key}",
                             fix=did_you_mean(key, kinds, "options"))
        if not isinstance(value, kinds[key]):
            form = {dict: "a map", list: "a list", str: "an expression"}[kinds[key]]
            raise InputError(f"sweep.{key} is {value!r}", key=f"sweep.{key}", fix=f"write {form}")
    return Sweep(**given)
