"""Data sets by name: resolved, described, and loaded as float32 inputs and int64 labels."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import userfunction
from trainables.errors import InputError
from trainables.options import Table, choice, did_you_mean, fill, optional, whole
from trainables.sources import PATHS, SOURCES

if TYPE_CHECKING:
    import numpy as np

    from trainables.sources.arrays import Split

FORMS = (*(n for n in SOURCES if n not in (*PATHS, "function")),
         *(f"{n}:PATH" for n in PATHS), "module:function")


@dataclass(frozen=True)
class DataInfo:
    """What a plan needs to know of the data. ``sha256`` depends on the content alone."""

    train_size: int
    test_size: int
    input_shape: tuple[int, ...]
    classes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """Inputs (N, C, H, W) or (N, D), float32, normalised; labels (N,) int64 from 0."""

    x_train: "np.ndarray"
    y_train: "np.ndarray"
    x_test: "np.ndarray"
    y_test: "np.ndarray"
    classes: int
    sha256: str


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The whole config of the data, defaults filled in. Resolving twice changes nothing.

    npz:PATH becomes {name: npz, path: PATH}, module:function {name: function, function: …,
    options: {…}}, where options are the keys that are not ours. ``normalize: auto`` is standard
    for images and none for tables, known when the data is read.
    """
    name = config.get("name")
    if not isinstance(name, str):
        raise InputError("data has no name", key="data.name",
                         fix=f"write one of {', '.join(FORMS)}")
    given = {k: v for k, v in config.items() if k != "name"}
    head, colon, tail = name.partition(":")
    if colon and head in PATHS:
        name, given = head, _with(given, "path", tail, name)
    elif colon:
        name, given = "function", _with(given, "function", name, name)
    elif name not in SOURCES:
        raise InputError(f"unknown data `{name}`", key="data.name",
                         fix=did_you_mean(name, FORMS, "data"))
    if name == "function":
        return _resolve_function(given)
    table = {**_common(images=SOURCES[name].images), **SOURCES[name].options}
    resolved = fill(given, table, section="data", subject=f"data {name}")
    if resolved.get("path", "") is None:
        raise InputError(f"data {name} has no path", key="data.path", fix=f"write {name}:PATH")
    return {"name": name, **resolved}


def _common(*, images: bool) -> Table:
    return {
        "train_size": optional(whole(None)), "test_size": optional(whole(None)),
        "seed": whole(0, 0, (1 << 63) - 1),
        "normalize": choice("standard" if images else "auto",
                            ("standard", "none") if images else ("standard", "none", "auto")),
    }


def _with(given: dict[str, Any], key: str, value: str, name: str) -> dict[str, Any]:
    if key in given:
        raise InputError(f"data has both the name {name} and {key}", key=f"data.{key}",
                         fix="give it once, in the name")
    return {**given, key: value}


def _resolve_function(given: dict[str, Any]) -> dict[str, Any]:
    function = given.pop("function", None)
    if not isinstance(function, str):
        raise InputError("data names no function", key="data.name", fix="write module:function")
    userfunction.check_name(function, key="data.name")
    common = _common(images=False)
    options = given.pop("options", {})
    if not isinstance(options, Mapping):
        raise InputError(f"data.options is {options!r}", key="data.options",
                         fix="write a mapping of the function's arguments")
    options = {**options, **{k: v for k, v in given.items() if k not in common}}
    ours = {k: v for k, v in given.items() if k in common}
    return {"name": "function", **fill(ours, common, section="data", subject=function),
            "function": function, "options": options}


def describe(config: Mapping[str, Any], base_dir: Path) -> DataInfo:
    """Reads and checks the data, in full. InputError for whatever a sweep could trip over.

    What was read is kept, so that ``load`` in the same process does not read it again.
    """
    split = _kept(_read, resolve(config), base_dir)
    return DataInfo(len(split.x_train), len(split.x_test), tuple(split.x_train.shape[1:]),
                    split.classes, split.sha256)


def load(config: Mapping[str, Any], base_dir: Path) -> Dataset:
    """The data, ready to train on: uint8 scaled to [0, 1], then normalised by the training set.

    A process keeps what was read and its moments; the arrays are the caller's own.
    """
    config = resolve(config)
    split = _kept(_read, config, base_dir)
    normalise = config["normalize"] == "standard" or (
        config["normalize"] == "auto" and split.x_train.ndim > 2)
    moments = _kept(_moments, config, base_dir) if normalise else None
    return Dataset(_prepared(split.x_train, moments), split.y_train.copy(),
                   _prepared(split.x_test, moments), split.y_test.copy(),
                   split.classes, split.sha256)


def _prepared(x: "np.ndarray", moments: "tuple[np.ndarray, np.ndarray] | None") -> "np.ndarray":
    from trainables.moments import standardise

    if moments is not None:
        # Of uint8 images too: scaling to [0, 1] first would cancel out.
        return standardise(x, *moments)
    plain = x.astype("float32")
    return plain / 255 if x.dtype == "uint8" else plain


def _kept(make: Callable[..., Any], config: Mapping[str, Any], base_dir: Path) -> Any:
    """What ``make`` makes of the data, kept while its files stay as they are."""
    source = SOURCES[config["name"]].load()
    wanted = json.dumps({k: v for k, v in config.items() if k != "normalize"}, sort_keys=True)
    try:
        stats = [path.stat() for path in source.files(config, base_dir)]
        state = tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)
        return make(wanted, base_dir, state)
    except ModuleNotFoundError as error:
        raise InputError(f"data {config['name']} needs the package {error.name}", key="data.name",
                         fix=f"pip install {error.name}") from error
    except OSError as error:
        raise InputError(f"{error.filename or config['name']}: {error.strerror or error}",
                         key="data.path", fix="check that it exists and can be read") from error
    except MemoryError as error:
        raise InputError("the data does not fit into this machine's memory", key="data",
                         fix="set data.train_size and data.test_size, or use a smaller file"
                         ) from error


@lru_cache(maxsize=2)
def _read(config: str, base_dir: Path, _state: tuple[tuple[int, ...], ...]) -> "Split":
    wanted = json.loads(config)
    return SOURCES[wanted["name"]].load().read(wanted, base_dir)


@lru_cache(maxsize=2)
def _moments(config: str, base_dir: Path, state: tuple[tuple[int, ...], ...]
             ) -> "tuple[np.ndarray, np.ndarray]":
    from trainables.moments import channel_moments

    return channel_moments(_read(config, base_dir, state).x_train)
