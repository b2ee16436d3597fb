"""The axes of a sweep: their values, and which scalar of the config each names."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator import sections
from trainables.errors import InputError
from trainables.options import Option, did_you_mean, number, whole

MOST_VALUES = 100_000
DIGITS = 12  # values are rounded to so many significant digits, so that ids are equal everywhere


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits, everything else as it is."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value


def values(name: str, given: Any) -> list[Any]:
    """The values of an axis: a list, {log: [a, b], n}, {linear: [a, b], n} or {count: n}."""
    key = f"sweep.axes.{name}"
    if isinstance(given, list):
        if not given:
            raise InputError(f"the axis {name} is empty", key=key, fix="give at least one value")
        if len(given) > MOST_VALUES:
            raise InputError(f"the axis {name} has {len(given):,} values", key=key,
                             fix=f"at most {MOST_VALUES:,}")
        for i, value in enumerate(given):
            if not isinstance(value, int | float | str | bool):
                raise InputError(f"{value!r} is no scalar", key=f"{key}.{i}",
                                 fix="an axis is a list of numbers or words")
        return [rounded(v) for v in given]
    form = {k: v for k, v in given.items() if k != "n"} if isinstance(given, Mapping) else {}
    if set(form) == {"count"} and "n" not in given:
        return _count(form["count"], key)
    if set(form) in ({"log"}, {"linear"}) and "n" in given:
        return _spaced(name, *form.items(), given["n"], key)
    raise InputError(f"the axis {name} is {given!r}", key=key,
                     fix="write a list, {log: [0.01, 1], n: 7}, {linear: [0, 1], n: 5} or {count: 3}")


def _count(n: Any, key: str) -> list[int]:
    if not whole(None, 1, MOST_VALUES).accepts(n):
        raise InputError(f"count is {n!r}", key=key, fix="write a whole number from 1")
    return list(range(n))


def _spaced(name: str, form: tuple[str, Any], n: Any, key: str) -> list[float]:
    kind, ends = form
    ok = isinstance(ends, list) and len(ends) == 2 and all(
        number(0.0, math.isfinite, "").accepts(e) for e in ends)
    if not ok:
        raise InputError(f"{kind} of the axis {name} is {ends!r}", key=key,
                         fix=f"write {{{kind}: [from, to], n: 5}} with two numbers")
    if not whole(None, 2, MOST_VALUES).accepts(n):
        raise InputError(f"n of the axis {name} is {n!r}", key=key, fix="write a whole number from 2")
    low, high = map(float, ends)
    if kind == "log" and min(low, high) <= 0:
        raise InputError(f"the log axis {name} goes from {low:g} to {high:g}", key=key,
                         fix="both ends of a log axis are above 0")
    if low == high:
        raise InputError(f"the axis {name} goes from {low:g} to itself", key=key, fix="write [value]")
    shares = [i / (n - 1) for i in range(n)]
    between = [low ** (1 - s) * high**s if kind == "log" else low + (high - low) * s for s in shares]
    return [rounded(v) for v in (low, *between[1:-1], high)]


def scalar(name: str, model: Mapping[str, Any]) -> str | None:
    """The dotted scalar that a name stands for ("lr" -> "train.lr"), or None for a free variable."""
    if name == "seed":
        return "seed"
    if name in sections.NOISE:
        return f"noise.{sections.NOISE[name][0]}"
    head, dot, tail = name.partition(".")
    if dot:
        known = {"train": sections.TRAIN, "model": model}.get(head)
        if known is None or tail not in known or name == "model.name":
            options = [f"{s}.{k}" for s, t in (("train", sections.TRAIN), ("model", model)) for k in t]
            raise InputError(f"`{name}` names no scalar", key=f"sweep.axes.{name}",
                             fix=did_you_mean(name, options, "scalars")[:400])
        return name
    if name in sections.TRAIN:
        return f"train.{name}"
    return f"model.{name}" if name in model and name != "name" else None


def option(path: str) -> Option | None:
    """What the scalar accepts; None where the model's own table decides."""
    section, _, key = path.partition(".")
    if path == "seed":
        return sections.SEED
    if section == "noise":
        return next(o for short, o in sections.NOISE.values() if short == key)
    return sections.TRAIN[key] if section == "train" else None
