"""The axes of a sweep: their values, and which scalar of the config each names."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator import sections, training
from orchestrator.sections import rounded
from trainables import models
from trainables.errors import InputError
from trainables.options import Option, did_you_mean, number, whole

MOST_VALUES = 100_000
_FORMS = "a list, {log: [0.01, 1], n: 7}, {linear: [0, 1], n: 5} or {count: 3}"
_SWEPT = tuple(n for n in sections.TRAIN if n != "until")  # its value is a map


def values(name: str, given: Any) -> list[Any]:
    """The values of an axis: a list, {log: [a, b], n}, {linear: [a, b], n} or {count: n}."""
    key = f"sweep.axes.{name}"
    if isinstance(given, list):
        return _listed(name, given, key)
    form = dict(given) if isinstance(given, Mapping) else {}
    if set(form) == {"count"}:
        return _count(name, form["count"], key)
    n = form.pop("n", None)
    if set(form) in ({"log"}, {"linear"}):
        return _spaced(name, *form.popitem(), n, key)
    raise InputError(f"the axis {name} is {given!r}", key=key, fix=f"write {_FORMS}")


def _listed(name: str, given: list[Any], key: str) -> list[Any]:
    if not given:
        raise InputError(f"the axis {name} is empty", key=key, fix="give at least one value")
    maps = name.removeprefix("train.") in training.NAMED
    for i, value in enumerate(given):
        if not (isinstance(value, int | float | str | bool) or (
                maps and isinstance(value, Mapping))):
            raise InputError(f"{value!r} in the axis {name}", key=f"{key}.{i}",
                             fix=f"the axis {name} is a list of names, or maps of a name and its "
                                 "options" if maps else "an axis is a list of numbers or words; of "
                                 f"maps only for {', '.join(training.NAMED)}")
    return rounded(given)


def _count(name: str, n: Any, key: str) -> list[int]:
    if name != "seed":
        raise InputError(f"the axis {name} is a count", key=key,
                         fix="count is for seed; write a list, or {linear: [0, 1], n: 5}")
    if not whole(None, 1, MOST_VALUES).accepts(n):
        raise InputError(f"count is {n!r}", key=f"{key}.count",
                         fix=f"write a whole number from 1 to {MOST_VALUES}")
    return list(range(n))


def _spaced(name: str, kind: str, ends: Any, n: Any, key: str) -> list[Any]:
    real = number(0.0, math.isfinite, "")
    if not (isinstance(ends, list) and len(ends) == 2 and all(map(real.accepts, ends))):
        raise InputError(f"{kind} of the axis {name} is {ends!r}", key=f"{key}.{kind}",
                         fix=f"write {{{kind}: [from, to], n: 5}} with two numbers")
    if not whole(None, 2, MOST_VALUES).accepts(n):
        what = f"the axis {name} has no n" if n is None else f"n of the axis {name} is {n!r}"
        raise InputError(what, key=f"{key}.n",
                         fix=f"write a whole number from 2 to {MOST_VALUES}")
    low, high = map(float, ends)
    if kind == "log" and min(low, high) <= 0:
        raise InputError(f"the log axis {name} goes from {low:g} to {high:g}", key=f"{key}.log",
                         fix="both ends of a log axis are above 0")
    if low == high:
        raise InputError(f"the axis {name} goes from {low:g} to itself", key=key,
                         fix=f"write [{ends[0]}]")
    shares = (i / (n - 1) for i in range(1, n - 1))
    found = rounded([low, *(low ** (1 - s) * high**s if kind == "log" else low * (1 - s) + high * s
                            for s in shares), high])
    if all(isinstance(e, int) for e in ends) and all(v.is_integer() for v in found):
        return [int(v) for v in found]  # so that {log: [8, 128], n: 5} is good for batch sizes
    return found


def scalar(name: str, model: Mapping[str, Any]) -> str | None:
    """The dotted scalar that a name stands for ("lr" -> "train.lr"), or None for a free variable.

    InputError for a dotted name that names none.
    """
    if name == "seed":
        return "seed"
    if name in ("train_size", "data.train_size"):
        return "data.train_size"
    if name in sections.NOISE:
        return f"noise.{sections.NOISE[name][0]}"
    if training.option(name.removeprefix("train.")) is not None:
        return f"train.{name.removeprefix('train.')}"
    head, dot, tail = name.partition(".")
    if not dot:
        return f"train.{name}" if name in _SWEPT else (
            f"model.{name}" if name in model and name != "name" else None)
    if head == "train" and tail in sections.NOISE:
        return f"noise.{sections.NOISE[tail][0]}"
    if (head == "train" and tail in _SWEPT) or (
            head == "model" and tail in model and tail != "name"):
        return name
    raise InputError(f"`{name}` names no scalar", fix=nearest(name, model))


def nearest(name: str, model: Mapping[str, Any]) -> str:
    """'did you mean `width`? scalars: …', for a name that is none."""
    paths = ["data.train_size", *(f"train.{n}" for n in (*_SWEPT, *sections.NOISE)),
             *(f"model.{n}" for n in model if n != "name")]
    bare = {p.partition(".")[2] for p in paths}
    head = name.removeprefix("train.").partition(".")[0]
    if "." in name and head in training.NAMED:
        paths = [f"{head}.{n}" for n in training.options(head)]
    return did_you_mean(name, paths if "." in name else ["seed", *sorted(bare)], "scalars")


def aliases(name: str, model: Mapping[str, Any]) -> list[str]:
    """All names under which an expression may speak of the same scalar."""
    path = scalar(name, model)
    if path is None or path == "seed":
        return [name]
    section, _, key = path.partition(".")
    if section == "noise":
        key = next(n for n, (short, _) in sections.NOISE.items() if short == key)
        return [key, f"train.{key}"]
    return [path, *([key] if scalar(key, model) == path else [])]


def canonical(path: str, value: Any, model: Mapping[str, Any], key: str, *,
              computed: bool = False) -> Any:
    """The one form of a scalar's value: 1 becomes 1.0 where a real number is meant, and so on.

    InputError, at ``key``, by the same bounds as of a constant. A ``computed`` whole number may
    come as a float: 8.0 from ``ratio * 800``.
    """
    section, _, name = path.partition(".")
    wholes = [int(value)] if computed and isinstance(value, float) and value.is_integer() else []
    try:
        if section == "train" and name in training.NAMED:
            return rounded(training.NAMED[name](value))
        if section == "model":
            return _of_model(name, [value, *wholes], model)
    except InputError as error:
        raise InputError(error.what, key=key, fix=error.fix) from None
    wanted = _option(path)
    fitting = [v for v in (value, *wholes) if v is not None and wanted.accepts(v)]
    if not fitting:
        raise InputError(f"{path.removeprefix('train.')} is {value!r}", key=key,
                         fix=f"write {wanted.wanted}")
    return rounded(wanted.cast(fitting[0]))


def _of_model(name: str, candidates: list[Any], model: Mapping[str, Any]) -> Any:
    *others, last = candidates
    for value in others:
        try:
            return rounded(models.resolve({**model, name: value})[name])
        except InputError:
            continue
    return rounded(models.resolve({**model, name: last})[name])


def _option(path: str) -> Option:
    section, _, key = path.partition(".")
    if section == "noise":
        return next(o for short, o in sections.NOISE.values() if short == key)
    if section == "train":
        return training.option(key) or sections.TRAIN[key]
    if section == "data":
        return sections.TRAIN_SIZE
    return sections.SEED
