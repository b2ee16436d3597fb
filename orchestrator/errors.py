"""What users did wrong, told in one family: what, where, how to mend it. All of it at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trainables.errors import InputError

SHOWN, MOST = 12, 100  # problems that are printed; and that are looked for
Value = TypeVar("Value")


@dataclass(frozen=True)
class Problem:
    """One problem, in at most four lines."""

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        lines = [f"error: {_line(self.what, 400)}"]
        lines += [f"  at {_line(self.where, 300)}"] if self.where else []
        lines += [f"  {_line(self.fix, 600)}"] if self.fix else []
        return "\n".join(lines)


class UserError(Exception):
    """Input that the user can mend. The command line prints it and exits with 2."""

    def __init__(self, *problems: Problem):
        super().__init__(*problems)
        self.problems = tuple(dict.fromkeys(problems))

    def __str__(self) -> str:
        shown = [str(p) for p in self.problems[:SHOWN]]
        more = len(self.problems) - SHOWN
        return "\n".join([*shown, *([f"… and {more} more"] if more > 0 else [])])


def gather(resolve: Callable[[Any], Value], given: Any, key: str
           ) -> tuple[Value | None, list[InputError]]:
    """``resolve(given)`` and all that is wrong with ``given``, whose dotted key is ``key``.

    Each value that is told to be wrong is left out and the rest tried again, so what comes back is
    the part that is right; None where there is no such part.
    """
    told: list[InputError] = []
    while len(told) < MOST:
        try:
            return resolve(given), told
        except InputError as error:
            found: list[InputError] = [error]
        except ExceptionGroup as group:
            found = list(group.exceptions)
        rest, known = given, tuple(told)
        for error in found:
            missed = any(_within(t.key, error.key) for t in known)  # because it was left out
            place = error.key.rpartition(".")[0] if missed else error.key
            rest = _without(rest, place.removeprefix(f"{key}."))
            told += [] if missed else [error]
        if rest == given:
            return None, told
        given = rest
    return None, told


def each(resolve: Callable[[Any, str], Value], items: Iterable[Any], key: str) -> list[Value]:
    """``resolve(item, key.i)`` of every item; an ExceptionGroup of all their InputErrors."""
    values, told = [], []
    for i, item in enumerate(items):
        at = f"{key}.{i}"
        value, errors = gather(lambda given, at=at: resolve(given, at), item, at)
        values.append(value)
        told += errors
    if told:
        raise ExceptionGroup(key, told)
    return values


def _within(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.")


def _without(given: Any, key: str) -> Any:
    """``given`` without the value at a dotted key; a list goes as a whole, to keep its indices."""
    for name in given if isinstance(given, Mapping) and key else ():
        if _within(key, name):
            rest = key[len(name) + 1:]
            inner = _without(given[name], rest) if rest else None
            smaller = inner is not None and inner != given[name]
            return {k: inner if k == name else v for k, v in given.items() if smaller or k != name}
    return given


def _line(text: str, most: int) -> str:
    """The text on one line, without control characters: it may quote anyone's file."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
