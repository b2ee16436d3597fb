"""Where a value of a spec was written: file, line and column, or the override that set it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator import strictyaml
from orchestrator.errors import Problem, UserError
from trainables.errors import InputError

Path = strictyaml.Path
# As in the axes' names train.lr, model.width and lr_schedule.at.
_SECTIONS = ("data", "train", "model", "lr_schedule", "batch_schedule", "optimizer")


@dataclass(frozen=True)
class Places:
    """A spec's tree, and where each of its values came from."""

    source: str
    tree: Mapping[str, Any]
    marks: Mapping[Path, tuple[int, int]]
    overridden: Mapping[Path, str] = field(default_factory=dict)

    def problem(self, error: InputError) -> Problem:
        """The error, located at its key or at the nearest that is there."""
        path, there = _follow(self.tree, error.key)
        set_by = self._override(path, there)
        if set_by is not None:
            shown = set_by if set_by.endswith(f" {error.key}") else f"{set_by} ({error.key})"
            return Problem(error.what, shown, error.fix)
        while path and path not in self.marks:
            path = path[:-1]
        line, column = self.marks.get(path, (1, 1))
        key = f" ({error.key})" if error.key else ""
        return Problem(error.what, f"{self.source}:{line}:{column}{key}", error.fix)

    def _override(self, path: Path, there: bool) -> str | None:
        """The last override that set the value, or a value in it; None if the file has it."""
        above = [o for o in self.overridden if path[: len(o)] == o]
        if above:
            return self.overridden[max(above, key=len)]
        below = [o for o in self.overridden if o[: len(path)] == path]
        made = there and path and path not in self.marks  # a map that overrides made
        return self.overridden[below[0]] if below and made else None


def override(tree: dict[str, Any], texts: Sequence[str]) -> tuple[dict[Path, str], list[Problem]]:
    """Sets each ``key=value`` in the tree. What was set (path -> "-s key"), and what failed."""
    done: dict[Path, str] = {}
    problems: list[Problem] = []
    for text in texts:
        key, _, value = text.partition("=")
        where = f"-s {key}"
        try:
            path = _set(tree, text, strictyaml.load_value(value, where))
            done = {p: w for p, w in done.items() if p[: len(path)] != path} | {path: where}
        except UserError as error:
            problems += error.problems
        except InputError as error:
            problems.append(Problem(error.what, where, error.fix))
    return done, problems


def _set(tree: dict[str, Any], text: str, value: Any) -> Path:
    key, equals, _ = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > strictyaml.MOST_DEPTH:
        raise InputError(f"`{text}` is not KEY=VALUE", fix="write for instance -s train.epochs=5")
    node: Any = tree
    path: Path = ()
    while key:
        name, key = _child(node, key) or _new_child(node, key, path)
        path = (*path, name)
        if not key:
            node[name] = value
        elif isinstance(node, dict) and node.get(name) is None:
            node[name] = {}
        node = node[name]
    return path


def _new_child(node: Any, key: str, path: Path) -> tuple[str, str]:
    """The first name of a dotted key that the map does not hold yet, and the rest of the key."""
    if not isinstance(node, dict):
        here = ".".join(map(str, path))
        kind = f"a list of {len(node)}" if isinstance(node, list) else repr(node)
        raise InputError(f"`{here}` is {kind}, it has no `{key}`", fix=f"set {here} as a whole")
    name, _, rest = key.partition(".")
    if path in (("sweep", "axes"), ("sweep", "derived")) and name in _SECTIONS and rest:
        scalar, _, rest = rest.partition(".")
        name = f"{name}.{scalar}"
    return name, rest


def _follow(tree: Any, key: str) -> tuple[Path, bool]:
    """The longest path in the tree that a dotted key leads along, and whether it is all of it."""
    path: Path = ()
    while key:
        found = _child(tree, key)
        if found is None:
            return path, False
        name, key = found
        tree, path = tree[name], (*path, name)
    return path, True


def _child(node: Any, key: str) -> tuple[str | int, str] | None:
    """The child that the key's beginning names, and the rest; names may themselves hold dots."""
    if isinstance(node, Mapping):
        names = [n for n in node if n and (key == n or key.startswith(f"{n}."))]
        name = max(names, key=len, default=None)
        return None if name is None else (name, key[len(name) + 1:])
    index, _, rest = key.partition(".")
    if isinstance(node, list) and re.fullmatch("[0-9]{1,5}", index) and int(index) < len(node):
        return int(index), rest
    return None
