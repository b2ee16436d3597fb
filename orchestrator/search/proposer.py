"""What a search is: asked for points, told what became of them.

A proposer is deterministic: what it asks follows from its options and from what it was told and
asked for before. It is never pickled: a search that goes on tells a new one what has ended and lets
it adopt what is under way.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from orchestrator.search.section import SAMPLERS, Search
from orchestrator.stores import Store

Status = Literal["finished", "diverged", "stopped", "failed"]


@dataclass(frozen=True)
class Point:
    """A place in the space: the value of each of its names, as they stand in ``space``.

    A proposer that places single seeds itself adds ``seed``; else each point is trained with all
    seeds of the search.
    """

    values: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(tuple(sorted((k, repr(v)) for k, v in self.values.items())))


@dataclass(frozen=True)
class Outcome:
    """What became of a point: of one run, or of its seeds together.

    ``status``: ``failed`` says nothing of the point. ``values``: the objectives' columns, those
    that were measured and are finite; seeds are averaged. ``diverged``: the share of the seeds that
    diverged, 0 or 1 for a single run. ``steps``: how many were trained, on average; NaN where that
    is not known.
    """

    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    diverged: float = 0.0
    steps: float = math.nan


class Proposer(Protocol):
    """Proposes points of a space, one pack group after another."""

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` points that can be trained as one pack: alike in batch size, model and
        length. Empty: nothing more to ask before something is told (or ever, if nothing is under
        way)."""
        ...

    def adopt(self, points: Sequence[Point]) -> None:
        """Takes over an ask of an earlier session, whole, as if ``ask`` had just given it. Those of
        its points that have ended are told next."""
        ...

    def tell(self, point: Point, outcome: Outcome) -> None:
        """What became of a point, asked for or known from elsewhere. A point that is not of the
        space is passed over."""
        ...


@dataclass(frozen=True)
class Setup:
    """What a proposer is built from.

    ``shared``: the names of the space on which the pack depends in which a run is trained, such as
    ``batch_size``: points of one ``ask`` agree in them. ``inside``: whether a point of the space
    is one to run (``keep`` holds, all values are in bounds). ``store``: the sweep's folder, for
    what a proposer keeps or reads there; ``identity`` tells searches in one folder apart.
    """

    search: Search
    shared: frozenset[str]
    inside: Callable[[Mapping[str, Any]], bool]
    store: Store
    identity: str


def build(setup: Setup) -> Proposer:
    """The proposer of the search's sampler: ``build(setup)`` of its module."""
    module = importlib.import_module(SAMPLERS[setup.search.sampler].module)
    return module.build(setup)
