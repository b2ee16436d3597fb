"""The names of a sweep: what `derived` and `keep` see at a point, and which scalars they stand for.
"""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import axes, sections, training

if TYPE_CHECKING:
    from orchestrator.spec import Spec

SIZE, BATCH = "data.train_size", "train.batch_size"


def places(spec: "Spec", path: str) -> list[str]:
    """The dotted keys at which the sweep assigns a scalar."""
    given = [("sweep.axes", spec.sweep.axes), ("sweep.derived", spec.sweep.derived),
             *((f"sweep.include.{i}", point) for i, point in enumerate(spec.sweep.include))]
    return [f"{key}.{name}" for key, names in given for name in names
            if axes.scalar(name, spec.model) == path]


def swept(spec: "Spec") -> dict[str, str | None]:
    """Every name that the sweep assigns -> its dotted scalar, or None for a free variable."""
    names = itertools.chain(spec.sweep.axes, spec.sweep.derived, *spec.sweep.include)
    return {name: axes.scalar(name, spec.model) for name in names}


def constants(spec: "Spec", train_size: int) -> dict[str, Any]:
    """What an expression sees beside the sweep's own names. A value that is not given is absent.

    A named choice (`optimizer`, `lr_schedule`, `batch_schedule`) is its name; its options are
    names of their own, like `lr_schedule.factor`.
    """
    known: dict[str, Any] = {"seed": 0, "true": True, "false": False}
    scalars: dict[str, Any] = {SIZE: train_size}
    scalars |= {f"model.{k}": v for k, v in spec.model.items() if k != "name"}
    scalars |= {f"train.{k}": v for k, v in spec.train.items() if k not in training.NAMED}
    scalars |= {n: spec.noise[short] for n, (short, _) in sections.NOISE.items()}
    for name in training.NAMED:
        scalars |= chosen(name, spec.train[name])
    for name, value in scalars.items():
        if isinstance(value, int | float | str):
            batch = name == BATCH and value == "full"
            known |= dict.fromkeys(axes.aliases(name, spec.model), train_size if batch else value)
    return known


def chosen(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """{"train.lr_schedule": "switch", "train.lr_schedule.at": 4.0, …} of a choice's whole map."""
    path = f"train.{name}"
    return {path: value["name"], **{f"{path}.{k}": v for k, v in value.items() if k != "name"}}


class Names:
    """Binds the values of points to all the names under which an expression may use them."""

    def __init__(self, spec: "Spec", train_size: int):
        self._model, self.paths = spec.model, swept(spec)
        self._constants = constants(spec, train_size)
        self._batch = spec.train["batch_size"]
        self._aliases = {n: axes.aliases(n, spec.model) for n in self.paths}

    def of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Names with values where ``given`` are assigned; what is derived is not yet there."""
        names = dict(self._constants)
        if self.is_full(given):
            self._set(names, BATCH, names["train_size"])
        # A size before the batch that may be full, a choice before its options.
        depth = {n: (self.paths[n] != SIZE, (self.paths[n] or "").count(".")) for n in given}
        for name in sorted(given, key=depth.__getitem__):
            self.bind(names, name, given[name], given)
        return names

    def bind(self, names: dict[str, Any], name: str, value: Any, given: Mapping[str, Any]) -> None:
        """Assigns one name at the point ``given``, in place."""
        path = self.paths[name]
        key = (path or "").removeprefix("train.")
        if path == BATCH and value == "full":
            value = names["train_size"]
        elif path == SIZE and self.is_full(given):
            self._set(names, BATCH, value)
        elif key in training.NAMED:
            self._choose(names, key, training.NAMED[key](value))
            value = names[path]
        names |= dict.fromkeys(self._aliases[name], value)

    def is_full(self, given: Mapping[str, Any]) -> bool:
        """Whether the batch is the whole training set there."""
        batches = [v for n, v in given.items() if self.paths[n] == BATCH]
        return [*batches, self._batch][0] == "full"

    def _choose(self, names: dict[str, Any], key: str, value: Mapping[str, Any]) -> None:
        """Another choice, with its own options: those of the one before are gone."""
        for option in training.options(key):
            for alias in axes.aliases(f"train.{key}.{option}", self._model):
                names.pop(alias, None)
        for path, own in chosen(key, value).items():
            self._set(names, path, own)

    def _set(self, names: dict[str, Any], path: str, value: Any) -> None:
        names |= dict.fromkeys(axes.aliases(path, self._model), value)
