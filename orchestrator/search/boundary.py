"""The boundary of stability: the largest η that does not diverge, as a function of S.

Each combination of the other scalars is a line along log η with a threshold of its own; lines that
differ in S alone inform each other. A pack goes where the boundary is least certain, all of it to
one line: W points shrink a bracket by W + 1. Of several seeds each has a threshold of its own:
together they are bracketed coarsely, then each is, near the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from orchestrator.search.edge import Edge, over
from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.search.section import Range
from orchestrator.search.smooth import Known, expected
from orchestrator.search.threshold import Expected, Threshold
from orchestrator.search.track import Track

Scalars = Mapping[str, Any]
_GIVE_UP, _MARKS = 8, 200
_COARSE = 0.2  # in log η: seeds are taken as one until their edges are known to that
_APART = 0.03  # in log η: how far seeds' edges are expected to lie apart, before two are known


class Boundary:
    """Proposes packs of η on one line each until every edge is known to ``resolution``.

    ``lines``: the other scalars of each line. Where they hold ``batch_size`` as a number, lines
    that agree in all else share a smooth prior in log S. ``inside``: whether a point is of the
    space; it cuts the ends of lines. ``seeds``: of each the edge is bracketed. At first the points
    of a pack take turns among them, and which seed stands where changes from pack to pack; then
    each seed has its share of a pack. A line on which eight runs in a row failed is given up.

    Deterministic: what is asked follows from the options and from what was told.
    """

    def __init__(self, low: float, high: float, lines: Sequence[Scalars], *,
                 resolution: float = 0.01, seeds: int = 1, name: str = "lr",
                 inside: Callable[[Scalars], bool] = lambda _: True):
        self.name, self.seeds, self.resolution = name, seeds, resolution
        ends = [_ends(name, low, high, line, inside) for line in lines]
        self._lines = [dict(line) for line, kept in zip(lines, ends, strict=True) if kept]
        self._known = [Track(Threshold(*map(math.log, kept))) for kept in ends if kept]
        self._own = [[track] * seeds if seeds > 1 else [] for track in self._known]
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
        middle = (len(self._lines) - 1) / 2
        spread = {i: self._spread(i) for i in free}
        line = max(free, key=lambda i: (round(spread[i], 9), -abs(i - middle), -i))
        found: list[Point] = []
        for x, seed in self._placed(line, width):
            found.append(self._new(line, x, {} if seed is None else {"seed": seed}, found))
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
        at, unstable = math.log(point.values[self.name]), outcome.diverged >= 0.5
        self._known[line] = self._known[line].told(at, unstable=unstable, steps=outcome.steps)
        seed = point.values.get("seed")
        if seed in range(len(self._own[line])):
            own = self._own[line][seed]
            self._own[line][seed] = own.told(at, unstable=unstable, steps=outcome.steps)

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
        known = self._known[line].known
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

    # one seed, or all as one

    def _tracks(self, i: int) -> list[Track]:
        """Those whose edges are looked for on a line."""
        return self._own[i] or [self._known[i]]

    def _placed(self, i: int, width: int) -> list[tuple[float, int | None]]:
        """Where the next pack of a line goes: log η and seed, None for the only one."""
        expects, soft = self._expected(i), self._softness
        if self._coarse(i):
            first = self._first_seed(i, width)
            found = self._known[i].known.next(width, expects, 0.0 if self._own[i] else soft)
            return [(x, (first + n) % self.seeds if self._own[i] else None)
                    for n, x in enumerate(found)]
        own = self._own[i]
        wanted = [seed for seed, track in enumerate(own) if self._wide(track)]
        share = dict.fromkeys(wanted, 0)
        for _ in range(width):
            share[min(wanted, key=lambda seed: (own[seed].runs + share[seed], seed))] += 1
        return [(x, seed) for seed, count in share.items()
                for x in own[seed].known.next(count, self._beside(i, seed), soft)]

    def _coarse(self, i: int) -> bool:
        """Whether a line's runs are looked at without asking for their seeds."""
        known = self._known[i].known
        apart = known.belief(self._expected(i)).spread if known.sharp else 0.0
        return not self._own[i] or apart > _COARSE

    def _spread(self, i: int) -> float:
        """How uncertain a line is: the widest belief of its seeds."""
        soft = self._softness
        if self._coarse(i):
            return self._known[i].belief(self._expected(i), 0.0 if self._own[i] else soft).spread
        return max(self._own[i][s].belief(self._beside(i, s), soft).spread
                   for s in range(self.seeds) if self._wide(self._own[i][s]))

    def _beside(self, i: int, seed: int) -> Expected:
        """What the other seeds of a line say of one's edge; before two are known, all together."""
        others = [self._within(t) for s, t in enumerate(self._own[i]) if s != seed]
        middles = [(low + high) / 2 for low, high in others if high - low < _COARSE]
        if len(middles) > 1:
            apart = math.hypot(float(np.std(middles, ddof=1)), _APART / 3)
            return Expected(float(np.mean(middles)), apart * math.sqrt(1 + 1 / len(middles)))
        known = self._known[i]
        low, high = known.within(self._expected(i), 0.0)
        low, high = max(low, known.known.low), min(high, known.known.high)
        return Expected((low + high) / 2, math.hypot((high - low) / 12**0.5, _APART))

    @property
    def _softness(self) -> float:
        """How soft the edges of single seeds are, as told by those where chance was seen to decide;
        else 0."""
        tracks = (t for i in range(len(self._lines)) for t in self._tracks(i))
        seen = [t.known.belief().softness for t in tracks if not t.known.sharp]
        return math.exp(sum(map(math.log, seen)) / len(seen)) if seen else 0.0

    def _within(self, track: Track) -> tuple[float, float]:
        return track.within(None, self._softness)

    def _wide(self, track: Track) -> bool:
        """Whether further runs would tell more of one edge."""
        (low, high), enough = self._within(track), math.log1p(self.resolution) + 1e-12
        if low >= track.known.high or high <= track.known.low:
            return False
        alone = len(track.known.unstable) == 1  # without a second, slow divergence may hide much
        return high - low > enough or (alone and low - track.earliest > enough)

    # one line

    def _open(self, i: int) -> bool:
        return any(self._wide(track) for track in self._tracks(i))

    def _first_seed(self, i: int, width: int) -> int:
        """Of a line's next pack. A pack goes from small η to large ones: where the seeds fit into
        it a whole number of times, each pack begins one further, or a seed would keep its place."""
        before = self._known[i].runs
        return before + (before // width if width % self.seeds == 0 else 0)

    def _given_up(self, i: int) -> bool:
        return self._failed[i] >= _GIVE_UP

    def _expected(self, i: int) -> Expected | None:
        """What the lines say that differ from line ``i`` in S alone."""
        place = _place(self._lines[i])
        if place is None:
            return None
        others, softness = [], 0.0 if self._own[i] else self._softness
        for j, line in enumerate(self._lines):
            at = _place(line)
            if j != i and at is not None and _rest(line) == _rest(self._lines[i]):
                low, high = self._known[j].within(None, softness)
                if math.isfinite(high - low):
                    others.append(Known(at, (low + high) / 2, (high - low) / 12**0.5))
        return expected(place, others)

    def _edge(self, i: int) -> Edge:
        known, soft = self._known[i].known, self._softness
        ends, tracks = (known.low, known.high), self._tracks(i)
        each = [t.interval(None, soft) for t in tracks]
        state = "open" if self._open(i) else "found"
        if all(t.known.largest_stable >= known.high for t in tracks):
            state = "stable everywhere"
        elif all(t.known.smallest_unstable <= known.low for t in tracks):
            state = "unstable everywhere"
        beliefs = [t.belief(None, soft) for t in tracks]
        (low, high), deviation = each[0], 0.0
        middle = beliefs[0].quantile(0.5) if beliefs[0].softness else (low + high) / 2
        if len(tracks) > 1:
            middle, low, high, deviation = over(each, ends)
        value = math.exp(middle) if math.isfinite(middle) else math.nan
        return Edge(self._lines[i], value, math.exp(low), math.exp(high),
                    max(b.softness for b in beliefs), state, self._known[i].runs,
                    len(known.unstable), len(tracks), deviation)


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


def _place(line: Scalars) -> float | None:
    """log S, where S is a number."""
    size = line.get("batch_size")
    number = isinstance(size, int | float) and not isinstance(size, bool)
    return math.log(size) if number and size > 0 else None


def _rest(line: Scalars) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k != "batch_size"}
