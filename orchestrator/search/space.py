"""A search's space in the words of a grid: checks, and from points to runs.

What a space names, what is derived and what ``keep`` says follow the rules of axes: the space is
looked at as the grid of its ends and choices.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import axes, grid
from orchestrator.errors import Problem, UserError
from orchestrator.packing import group_key
from orchestrator.places import Places
from orchestrator.search.proposer import Point
from orchestrator.search.section import Choices, Range, Search, read
from orchestrator.sections import Sweep
from orchestrator.spec import Spec
from trainables.errors import InputError

_KEY = re.compile(r"sweep\.axes\.(?P<name>.+?)(?P<index>\.\d+)?$")
_STRIDE = 12  # different packs that stand for all that a search may ask for


class _SpacePlaces(Places):
    """Tells problems of the grid of a space's ends where they are: in the space."""

    def problem(self, error: InputError) -> Problem:
        """The error, located in ``sweep.search.space``."""
        key = error.key
        if key == "sweep.axes":
            key = "sweep.search.space"
        elif found := _KEY.match(error.key):
            given = self.tree["sweep"]["search"]["space"].get(found["name"])
            listed = isinstance(given, list) and found["index"]
            key = f"sweep.search.space.{found['name']}{found['index'] if listed else ''}"
        words = error.what.replace("the axis ", "the range of ").replace(
            "sweep.axes.", "sweep.search.space.")
        return super().problem(InputError(words, key=key, fix=error.fix.replace(
            "as an axis", "in the space")))


def search_of(spec: Spec) -> Search:
    """The section ``search``, its ranges of whole numbers marked."""
    found = read(spec.sweep.search or {})
    return replace(found, space={n: _whole(n, d, spec) for n, d in found.space.items()})


def as_grid(spec: Spec) -> Spec:
    """The spec of the grid of the space's ends and choices."""
    ends = {n: list(d.ends) for n, d in search_of(spec).space.items()}
    places = _SpacePlaces(**{n: getattr(spec.places, n) for n in (
        "source", "tree", "marks", "overridden")})
    sweep = Sweep(axes=ends, derived=spec.sweep.derived, keep=spec.sweep.keep)
    return replace(spec, sweep=sweep, places=places)


def identity(spec: Spec) -> str:
    """Eight hex digits, equal for searches of which the one goes on with the other."""
    facts = {k: v for k, v in (spec.sweep.search or {}).items() if k not in ("runs", "know")}
    text = json.dumps([facts, list(spec.sweep.derived.items()), spec.sweep.keep,
                       spec.compute.precision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Space:
    """From points to the configs of their runs."""

    def __init__(self, spec: Spec, train_size: int):
        self.search, self.spec = search_of(spec), as_grid(spec)
        self._expansion = grid.Expansion(self.spec, train_size)

    def config(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The config of a point's first run; None where it is outside: ``keep`` does not hold, or
        a value that follows from it is out of bounds."""
        cell = self._expansion.at({n: values[n] for n in self.search.space})
        return None if cell is None else grid.run_configs(self.spec, [cell])[0]

    def configs(self, point: Point) -> list[dict[str, Any]]:
        """The configs of a point's runs, one a seed; none where it is outside."""
        found = self.config(point.values)
        seeds = [point.values["seed"]] if "seed" in point.values else range(self.search.seeds)
        return [] if found is None else [{**found, "seed": seed} for seed in seeds]

    def inside(self, values: Mapping[str, Any]) -> bool:
        """Whether a point is one to run."""
        return self.config(values) is not None

    def star(self) -> list[dict[str, Any]]:
        """Configs that have every end and every choice: each scalar on its own, the others at the
        first of theirs. UserError where one of these is wrong, and not merely filtered."""
        first = {n: d.ends[0] for n, d in self.search.space.items()}
        points = [first, {n: d.ends[-1] for n, d in self.search.space.items()}, *(
            {**first, n: end} for n, d in self.search.space.items() for end in d.ends[1:])]
        found = [c for c in map(self.config, points) if c is not None]
        self._expansion.raise_problems()
        return found or [self._drawn()]

    def _drawn(self) -> dict[str, Any]:
        """Where keep leaves none of the ends: any config that it does leave."""
        dice = _dice(0)
        for _ in range(10_000):
            found = self.config(self._draw(dice))
            if found is not None:
                return found
        keep = self.spec.sweep.keep
        self._expansion.raise_problems()
        raise UserError(self.spec.problem(
            f"keep leaves nothing of the space: none of 10,000 points fulfils `{keep}`",
            "sweep.keep", "widen the space, or loosen keep"))

    def shared(self) -> frozenset[str]:
        """The names on which the pack depends that a run may be in."""
        found = set()
        first = {n: d.ends[0] for n, d in self.search.space.items()}
        bases = [b for b in (first, self._draw(_dice(1)), self._draw(_dice(2)))
                 if self.inside(b)]
        for name, dimension in self.search.space.items():
            for base in bases:
                keys = {group_key(c) for e in dimension.ends
                        if (c := self.config({**base, name: e})) is not None}
                if len(keys) > 1:
                    found.add(name)
        return frozenset(found)

    def sample(self, packs: int, width: int) -> list[list[dict[str, Any]]]:
        """The configs of some packs as this space may ask for, drawn evenly."""
        dice, shared, found = _dice(0), self.shared(), []
        for _ in range(min(packs, _STRIDE)):
            base, members = self._draw(dice), []
            for _ in range(20 * width):
                drawn = self.config({**self._draw(dice), **{n: base[n] for n in shared}})
                members += [] if drawn is None else [{**drawn, "seed": len(members)}]
                if len(members) == width:
                    break
            found += [members] if members else []
        return found

    def _draw(self, dice: random.Random) -> dict[str, Any]:
        return {n: _drawn(d, dice) for n, d in self.search.space.items()}


def _dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  (examples, no secrets)


def _drawn(dimension: Range | Choices, dice: random.Random) -> Any:
    if isinstance(dimension, Choices):
        return dice.choice(dimension.values)
    share, (low, high) = dice.random(), dimension.ends
    value = low ** (1 - share) * high**share if dimension.log else low + share * (high - low)
    return min(max(round(value), low), high) if dimension.whole else float(f"{value:.12g}")


def _whole(name: str, dimension: Range | Choices, spec: Spec) -> Range | Choices:
    """A range between whole numbers of a scalar that takes no others is one of whole numbers."""
    if isinstance(dimension, Choices) or not all(isinstance(e, int) for e in dimension.ends):
        return dimension
    try:
        path = axes.scalar(name, spec.model)
    except InputError:
        return dimension
    if path is None:
        return dimension
    return dimension if _accepts(path, dimension.low + 0.5, spec) else replace(
        dimension, whole=_accepts(path, dimension.low, spec))


def _accepts(path: str, value: Any, spec: Spec) -> bool:
    try:
        axes.canonical(path, value, spec.model, path)
    except InputError:
        return False
    return True
