"""What a search is: asked for points, told what became of them.

A proposer is deterministic: what it asks follows from its options, from what was told, and from
the order of both. So its state is rebuilt by asking and telling it again what the journal holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["finished", "diverged", "stopped", "failed"]


@dataclass(frozen=True)
class Point:
    """A place in the space: the value of each of its names, as they stand in ``space``."""

    values: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(tuple(sorted((k, repr(v)) for k, v in self.values.items())))


@dataclass(frozen=True)
class Outcome:
    """What became of a point: of one run, or of its seeds together.

    ``status``: ``failed`` says nothing of the point. ``values``: the objectives' columns, those
    that were measured and are finite; seeds are averaged. ``diverged``: the share of the seeds that
    diverged, 0 or 1 for a single run.
    """

    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    diverged: float = 0.0


class Proposer(Protocol):
    """Proposes points of a space, one pack group after another."""

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` points that can be trained as one pack: alike in batch size, model and
        length. Empty: nothing more to ask before something is told (or ever, if nothing is under
        way)."""
        ...

    def tell(self, point: Point, outcome: Outcome) -> None:
        """What became of a point, asked for or known from elsewhere. A point that is not of the
        space is passed over."""
        ...
