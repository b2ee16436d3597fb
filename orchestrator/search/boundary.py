"""The boundary of stability: the largest η that does not diverge, as a function of S.

Each combination of the other scalars is a line along log η with a threshold of its own; lines that
differ in S alone inform each other. A pack goes where the boundary is least certain, all of it to
one line: W points shrink a bracket by W + 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.search.section import Range
from orchestrator.search.smooth import Known, expected
from orchestrator.search.threshold import Belief, Expected, Threshold

Scalars = Mapping[str, Any]
_GIVE_UP, _MARKS = 8, 200


@dataclass(frozen=True)
class Edge:
    """The boundary on one line. ``scalars``: what is fixed there. ``low``, ``high``: the largest
    stable and the smallest unstable η, or where chance decides (``softness`` > 0, in log η) the
    95 % interval of the η at which half of the runs diverge. ``state``: ``found``, ``open``
    (further runs would narrow it), ``stable everywhere`` or ``unstable everywhere`` in the space;
    of the latter two one end is unknown (0 or ∞)."""

    scalars: Scalars
    value: float
    low: float
    high: float
    softness: float
    state: str
    runs: int
    diverged: int

    def __str__(self) -> str:
        """As a line of a terminal."""
        where = ", ".join(f"{k} = {v}" for k, v in self.scalars.items())
        over = f"({self.diverged} of {self.runs} runs diverged)"
        if self.state == "stable everywhere":
            return f"{where}: stable up to η = {self.low:.6g}, the end of the space {over}"
        if self.state == "unstable everywhere":
            return f"{where}: unstable from η = {self.high:.6g} on, the end of the space {over}"
        soft = f", where chance decides within a factor {math.exp(self.softness):.3g}"
        return (f"{where}: η* = {self.value:.6g} [{self.low:.6g}, {self.high:.6g}]"
                f"{soft if self.softness else ''}{' still open' if self.state == 'open' else ''} "
                f"{over}")


class Boundary:
    """Proposes packs of η on one line each until every edge is known to ``resolution``.

    ``lines``: the other scalars of each line. Where they hold ``batch_size`` as a number, lines
    that agree in all else share a smooth prior in log S. ``inside``: whether a point is of the
    space; it cuts the ends of lines. ``seeds``: the points of a pack take turns
    among that many, so that the edge is where half of the seeds diverge; which seed stands where
    changes from pack to pack. A line on which eight runs in a row failed is given up.

    Deterministic: what is asked follows from the options and from what was told.
    """

    def __init__(self, low: float, high: float, lines: Sequence[Scalars], *,
                 resolution: float = 0.01, seeds: int = 1, name: str = "lr",
                 inside: Callable[[Scalars], bool] = lambda _: True):
        self.name, self.seeds, self.resolution = name, seeds, resolution
        ends = [_ends(name, low, high, line, inside) for line in lines]
        self._lines = [dict(line) for line, kept in zip(lines, ends, strict=True) if kept]
        self._known = [Threshold(*map(math.log, kept)) for kept in ends if kept]
        lines = self._lines
        self._pending: list[set[Point]] = [set() for _ in lines]
        self._told: set[Point] = set()
        self._failed = [0 for _ in lines]

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` points of the line that is least certain and has none under way. Empty
        where every line is known or under way."""
        free = [i for i in range(len(self._lines))
                if not self._pending[i] and self._open(i) and not self._given_up(i)]
        if not free:
            return []
        beliefs = {i: self._expected(i) for i in free}
        soft = self._softness
        spread = {i: self._known[i].belief(beliefs[i], soft).spread for i in free}
        middle = (len(self._lines) - 1) / 2
        line = max(free, key=lambda i: (round(spread[i], 9), -abs(i - middle), -i))
        found, first = [], self._first_seed(line, width)
        for i, x in enumerate(self._known[line].next(width, beliefs[line], soft)):
            seed = {"seed": (first + i) % self.seeds} if self.seeds > 1 else {}
            found.append(self._new(line, x, seed, found))
        self._pending[line].update(found)
        return found

    def adopt(self, points: Sequence[Point]) -> None:
        """Takes over an ask of an earlier session."""
        for point in points:
            line = self._line(point.values)
            if line is not None:
                self._pending[line].add(point)

    def tell(self, point: Point, outcome: Outcome) -> None:
        """What became of a point, asked for or not: unstable if at least half of its seeds
        diverged. A point of no line of this space is passed over; one told before counts once."""
        line = self._line(point.values)
        if line is None:
            return
        self._pending[line].discard(point)
        if point in self._told:
            return
        if outcome.status == "failed":
            self._failed[line] += 1
            return
        self._failed[line] = 0
        self._told.add(point)
        known, at = self._known[line], math.log(point.values[self.name])
        for end in (known.low, known.high):  # which rounding may have moved it from
            at = end if math.isclose(at, end, rel_tol=1e-9, abs_tol=1e-9) else at
        self._known[line] = known.told(at, unstable=outcome.diverged >= 0.5)

    @property
    def finished(self) -> bool:
        """Whether no further run would be asked for."""
        return not any(self._open(i) and not self._given_up(i) for i in range(len(self._lines)))

    @property
    def edges(self) -> tuple[Edge, ...]:
        """What is known of each line."""
        return tuple(self._edge(i) for i in range(len(self._lines)))

    def _new(self, line: int, x: float, seed: Scalars, chosen: Sequence[Point]) -> Point:
        """The point at log η = ``x``, or beside it, towards the middle of the line, where that is
        known: to train the same run again would say nothing."""
        known = self._known[line]
        step = math.log1p(self.resolution) / 4
        step = -step if x > (known.low + known.high) / 2 else step
        while True:
            value = float(f"{math.exp(x):.12g}")
            point = Point({self.name: value, **self._lines[line], **seed})
            if point not in self._told and point not in chosen:
                return point
            x += step

    def _line(self, point: Scalars) -> int | None:
        alike = (i for i, line in enumerate(self._lines)
                 if all(point.get(k) == v for k, v in line.items()))
        return next(alike, None)

    @property
    def _softness(self) -> float:
        """How soft the edges are, as told by those where chance was seen to decide; else 0."""
        seen = [k.belief().softness for k in self._known if not k.sharp]
        return math.exp(sum(map(math.log, seen)) / len(seen)) if seen else 0.0

    def _interval(self, i: int) -> tuple[float, float]:
        """Of log η*; infinite where an end is not known."""
        belief = self._known[i].belief(self._expected(i), self._softness)
        return _between(self._known[i], belief)

    def _open(self, i: int) -> bool:
        low, high = self._interval(i)
        beyond = low >= self._known[i].high or high <= self._known[i].low
        return not beyond and high - low > math.log1p(self.resolution) + 1e-12

    def _first_seed(self, i: int, width: int) -> int:
        """Of a line's next pack. A pack goes from small η to large ones: where the seeds fit into
        it a whole number of times, each pack begins one further, or a seed would keep its place."""
        before = len(self._known[i].stable) + len(self._known[i].unstable)
        return before + (before // width if width % self.seeds == 0 else 0)

    def _given_up(self, i: int) -> bool:
        return self._failed[i] >= _GIVE_UP

    def _expected(self, i: int) -> Expected | None:
        """What the lines say that differ from line ``i`` in S alone."""
        place = _place(self._lines[i])
        if place is None:
            return None
        others, softness = [], self._softness
        for j, line in enumerate(self._lines):
            at = _place(line)
            if j != i and at is not None and _rest(line) == _rest(self._lines[i]):
                low, high = _between(self._known[j], self._known[j].belief(None, softness))
                if math.isfinite(high - low):
                    others.append(Known(at, (low + high) / 2, (high - low) / 12**0.5))
        return expected(place, others)

    def _edge(self, i: int) -> Edge:
        known, (low, high) = self._known[i], self._interval(i)
        belief = known.belief(self._expected(i), self._softness)
        state = "open" if self._open(i) else "found"
        if low >= known.high:
            state = "stable everywhere"
        elif high <= known.low:
            state = "unstable everywhere"
        middle = belief.quantile(0.5) if belief.softness else (low + high) / 2
        value = math.exp(middle) if math.isfinite(middle) else math.nan
        return Edge(self._lines[i], value, math.exp(low), math.exp(high), belief.softness, state,
                    len(known.stable) + len(known.unstable), len(known.unstable))


def build(setup: Setup) -> Boundary:
    """The boundary along the one range of the space, for all combinations of its choices."""
    space, options = setup.search.space, setup.search.options
    name = next(n for n, d in space.items() if isinstance(d, Range))
    choices = {n: d.values for n, d in space.items() if n != name}
    lines = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    return Boundary(space[name].low, space[name].high, lines, resolution=options["resolution"],
                    seeds=setup.search.seeds, name=name, inside=setup.inside)


def _ends(
    name: str, low: float, high: float, line: Scalars, inside: Callable[[Scalars], bool]
) -> tuple[float, float] | None:
    """The part of a line that is inside the space, to half a per cent of its length in log; None
    where nothing is."""
    marks = [low * (high / low) ** (i / _MARKS) for i in range(1, _MARKS)]
    kept = [x for x in (low, *marks, high) if inside({name: float(f"{x:.12g}"), **line})]
    return (kept[0], kept[-1]) if len(kept) > 1 else None


def _between(known: Threshold, belief: Belief) -> tuple[float, float]:
    """The bracket of a sharp edge, the 95 % interval of a soft one."""
    if belief.softness == 0:
        return known.largest_stable, known.smallest_unstable
    return belief.quantile(0.025), belief.quantile(0.975)


def _place(line: Scalars) -> float | None:
    """log S, where S is a number."""
    size = line.get("batch_size")
    number = isinstance(size, int | float) and not isinstance(size, bool)
    return math.log(size) if number and size > 0 else None


def _rest(line: Scalars) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k != "batch_size"}
