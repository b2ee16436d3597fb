"""A spec: one YAML file, checked as a whole. Every problem of the file is told at once."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import claims, probes, records, sections, strictyaml
from orchestrator.errors import Problem, UserError, gather
from orchestrator.places import Places, override
from orchestrator.presets import find_preset, list_presets
from orchestrator.sections import Compute, Measure, Save, Sweep
from orchestrator.stores import Place, open_store
from orchestrator.stores.place import parted, placed
from trainables.errors import InputError
from trainables.options import did_you_mean


@dataclass(frozen=True)
class Spec:
    """A resolved spec, and where it came from.

    Relative paths in ``data`` and ``module:function`` are looked up in ``base_dir``; a relative
    ``storage`` is against the current directory.
    """

    name: str
    storage: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    noise: Mapping[str, float]
    sweep: Sweep
    measure: Measure
    save: Save
    compute: Compute
    claims: claims.Chosen
    probes: tuple[probes.ProbeSpec, ...]
    base_dir: Path
    text: str
    source: str
    overrides: tuple[str, ...]
    places: Places = field(repr=False)

    def resolved(self) -> dict[str, Any]:
        """The whole spec as a tree of plain values."""
        tree = {
            "name": self.name, "storage": self.storage, "data": self.data, "model": self.model,
            "train": {**self.train, **{f"{k}_noise": v for k, v in self.noise.items()}},
            **{n: dataclasses.asdict(getattr(self, n))
               for n in ("sweep", "measure", "save", "compute")},
            "claims": claims.tree(self.claims), "probes": [p.tree() for p in self.probes],
        }
        return json.loads(json.dumps(tree, allow_nan=False))

    def problem(self, what: str, key: str = "", fix: str = "") -> Problem:
        """A problem at a dotted key, located in the YAML or at the override that set it."""
        return self.places.problem(InputError(what, key=key, fix=fix))


def load_spec(source: str, overrides: Sequence[str] = ()) -> Spec:
    """The spec of a file or preset, with ``key=value`` overrides; UserError with all problems."""
    path, base_dir = _find(source)
    content = _read(path, source)
    document = strictyaml.load(content, source)
    if not isinstance(document.data, dict):
        line, column = document.marks[()]
        raise UserError(Problem("a spec is a map of sections", f"{source}:{line}:{column}",
                                f"sections: {', '.join(sections.TOP)}"))
    overridden, failed = override(document.data, overrides)
    reader = _Reader(Places(source, document.data, document.marks, overridden), failed)
    return reader.spec(base_dir=base_dir, text=content.decode("utf-8-sig"), source=source,
                       overrides=tuple(overrides))


def load_folder(folder: Place, overrides: Sequence[str] = ()) -> Spec:
    """The spec that a sweep's folder was made by, as resolved there; the folder may have moved.

    The user's own modules and relative data paths are looked up in the current directory.
    """
    store = open_store(folder)
    source = f"{store.where}/resolved.yaml"
    storage, name = parted(placed(folder))
    tree = {k: v for k, v in (records.resolved(store) or {}).items() if k in sections.TOP} | {
        "name": name, "storage": str(storage)}
    measure = tree.get("measure", {})
    if isinstance(measure.get("monitors"), list):  # else what is wrong with it is told below
        chosen = [{m[0]: m[1]} if isinstance(m, list) and len(m) == 2 and isinstance(m[0], str)
                  else m for m in measure["monitors"]]
        tree["measure"] = {**measure, "monitors": chosen}
    overridden, failed = override(tree, overrides)
    reader = _Reader(Places(source, tree, {}, overridden), failed)
    text = records.text(store, "spec.yaml")
    return reader.spec(base_dir=Path.cwd(), text=text, source=source, overrides=tuple(overrides))


def _find(source: str) -> tuple[Path, Path]:
    """The file and the folder its relative paths mean; a folder named like a preset is no file."""
    path = Path(source)
    try:
        is_file, is_folder = path.exists() and not path.is_dir(), path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise UserError(Problem(f"cannot read {source}: {error.strerror}")) from None
    if is_file:
        return path, path.absolute().parent
    if any(source == p.name for p in list_presets()):
        return find_preset(source).path, Path.cwd()
    if is_folder:
        raise UserError(Problem(f"{source or '.'} is a folder", fix="give the YAML file"))
    if path.suffix in (".yaml", ".yml") or "/" in source:
        raise UserError(Problem(f"there is no file {source}",
                                fix="give a YAML file or a preset (see `sgdscope presets`)"))
    return find_preset(source).path, Path.cwd()


def _read(path: Path, source: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(strictyaml.MOST_BYTES + 1)  # more would be refused
    except OSError as error:
        raise UserError(Problem(f"cannot read {source}: {error.strerror}",
                                fix="check that it is a file that you may read")) from None


class _Reader:
    """Resolves section by section and collects what is wrong in each."""

    def __init__(self, places: Places, failed: Sequence[Problem]):
        self._places, self._tree, self._failed = places, places.tree, failed
        self._told: list[InputError] = []

    def spec(self, **origin: Any) -> Spec:
        """The Spec; UserError with every problem found."""
        from trainables import datasets, models

        self._unknown_sections()
        found = {
            "name": self._section("name", sections.name, kind=None),
            "storage": self._section("storage", sections.storage, default="./sweeps", kind=None),
            "data": self._section("data", datasets.resolve),
            "model": sections.rounded(self._section("model", models.resolve)),
            "measure": self._section(
                "measure", partial(sections.measure, base_dir=origin["base_dir"]), default={}),
            "compute": self._section("compute", sections.compute, default={}),
            "claims": self._section(
                "claims", partial(claims.section, base_dir=origin["base_dir"]), default=[],
                kind=list) or (),
            "probes": self._section("probes", probes.section, default=[], kind=list) or (),
        }
        found["save"] = self._section("save", partial(probes.save, chosen=found["probes"]),
                                      default={})
        trained = self._section("train", sections.train)
        train, noise = trained or sections.train({})
        sweep = self._section("sweep", sections.sweep, default={}) or Sweep()
        spec = Spec(**found, train=train, noise=noise, sweep=sweep, places=self._places, **origin)
        told = [self._places.problem(e) for e in self._told]
        problems = [*self._failed, *told, *self._sweep_problems(spec), *probes.check(spec)]
        if problems:
            raise UserError(*problems)
        return spec

    def _unknown_sections(self) -> None:
        for key in self._tree:
            if key not in sections.TOP:
                self._told.append(InputError(f"unknown key `{key}`", key=key,
                                             fix=did_you_mean(key, sections.TOP, "sections")))

    def _section(self, key: str, resolve: Callable[[Any], Any], *, default: Any = None,
                 kind: type | None = dict) -> Any:
        """The section; what is wrong in it left out, or None where nothing is right."""
        given = self._tree.get(key)
        given = default if given is None else given
        if kind is not None and not isinstance(given, kind):
            what = f"{key} is missing" if given is None else f"{key} is {given!r}"
            form = "a map of options" if kind is dict else "a list"
            self._told.append(InputError(what, key=key, fix=f"write `{key}:` as {form}"))
            return None
        value, told = gather(resolve, given, key)
        self._told += told
        return value

    def _sweep_problems(self, spec: Spec) -> list[Problem]:
        from orchestrator.sweepcheck import check_sweep

        given = self._tree.get("train")
        spec = spec if spec.model is not None else dataclasses.replace(spec, model={})
        given, wrong = given if isinstance(given, dict) else {}, [e.key for e in self._told]
        if spec.sweep.search is None:
            return check_sweep(spec, given, wrong)
        from orchestrator.search.checking import check_search

        return check_search(spec, given, wrong)
