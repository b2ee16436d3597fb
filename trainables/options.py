"""Options of data sets and models: defaults, what is accepted, errors that name the way out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from trainables.errors import InputError


@dataclass(frozen=True)
class Option:
    """One option: its default, the values accepted, in words what to write, and its final form."""

    default: Any
    accepts: Callable[[Any], bool]
    wanted: str
    cast: Callable[[Any], Any] = lambda value: value


Table = Mapping[str, Option]


def whole(default: int | None, low: int = 1, high: int = 1_000_000_000) -> Option:
    """An integer in [low, high]."""
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Option(default, accepts, f"a whole number from {low} to {high}")


def number(default: float, accepts: Callable[[float], bool], wanted: str) -> Option:
    """A real number; integers are turned into floats, so that 1 and 1.0 are the same config."""
    def real(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and accepts(value)

    return Option(default, real, wanted, float)


def flag(default: bool) -> Option:
    """true or false."""
    return Option(default, lambda value: isinstance(value, bool), "true or false")


def choice(default: str, names: Iterable[str]) -> Option:
    """One of a few words."""
    known = tuple(names)
    accepts = lambda value: isinstance(value, str) and value in known  # noqa: E731
    return Option(default, accepts, f"one of {', '.join(known)}")


def text(default: str | None) -> Option:
    """A string that is not empty."""
    return Option(default, lambda value: isinstance(value, str) and bool(value), "text")


def optional(option: Option) -> Option:
    """The same option, where null stands for "not given"."""
    return replace(
        option,
        accepts=lambda value: value is None or option.accepts(value),
        cast=lambda value: None if value is None else option.cast(value),
    )


def did_you_mean(name: object, known: Iterable[str], noun: str) -> str:
    """'did you mean `mlp`? models: linear, mlp, …'."""
    names = list(known)
    lower = {n.lower(): n for n in names}
    near = get_close_matches(str(name).lower(), lower, 1)
    hint = f"did you mean `{lower[near[0]]}`? " if near else ""
    return f"{hint}{noun}: {', '.join(names)}"


def fill(given: Mapping[str, Any], table: Table, *, section: str, subject: str) -> dict[str, Any]:
    """All options of ``table``, defaults filled in; InputError for unknown keys and bad values."""
    for name, value in given.items():
        key = f"{section}.{name}"
        if name not in table:
            raise InputError(f"{subject} has no option `{name}`", key=key,
                             fix=did_you_mean(name, table, "options"))
        if not table[name].accepts(value):
            raise InputError(f"{key} is {value!r}", key=key, fix=f"write {table[name].wanted}")
    return {n: o.cast(given[n]) if n in given else o.default for n, o in table.items()}
