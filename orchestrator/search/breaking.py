"""The break point of the ratio law: up to which S runs of one η/S still coincide with the smallest.

Whether they coincide is no matter of one run: the analysis compares the curves of all seeds of a
cell with those of the reference (analysis/collapse.py). So after each pack the tables are judged
anew, and S is placed where the break is least certain: a bisection for each ratio.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.search.section import Choices, Range
from orchestrator.search.threshold import Threshold

if TYPE_CHECKING:
    from analysis.collapse import Break

QUANTITY = "train_loss"


@dataclass(frozen=True)
class Parting:
    """One ratio: cells coincide with the reference up to ``last``, and no more from ``first`` on
    (∞ where they do to the end of the space). ``state``: found or open."""

    ratio: float
    reference: int
    last: float
    first: float
    state: str

    def __str__(self) -> str:
        """As a line of a terminal."""
        upto = f"η/S = {self.ratio:g}: coincides with S = {self.reference} up to S = {self.last:g}"
        end = ", the end of the space" if self.first == math.inf else f", not at {self.first:g}"
        return f"{upto}{end}{', still open' if self.state == 'open' else ''}"


class BreakPoint:
    """Proposes cells at one S a pack until the break of every ratio is known to ``resolution``.

    The reference is ``low``. ``judge``: the break points that the tables show now. A pack takes in
    all ratios that its S would tell something of. A ratio of which a cell failed, or cannot be
    compared, is given up. Deterministic, as the tables are.
    """

    def __init__(self, low: int, high: int, ratios: Sequence[float],
                 judge: Callable[[], "Sequence[Break]"], *, resolution: float = 0.1,
                 inside: Callable[[Mapping[str, float]], bool] = lambda _: True):
        self._low, self._high, self._resolution = low, high, resolution
        self._ratios = [r for r in ratios if inside({"ratio": r, "batch_size": low})]
        self._inside, self._judge = inside, judge
        self._pending: dict[Point, None] = {}
        self._told: dict[float, set[int]] = {r: set() for r in self._ratios}
        self._closed: set[float] = set()
        self._known = {r: Threshold(math.log(low), math.log(high)) for r in self._ratios}

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` ratios at one S."""
        busy = {p.values["ratio"] for p in self._pending}
        free = [r for r in self._ratios if r not in busy and r not in self._closed]
        first = [r for r in free if self._low not in self._told[r]]
        if first:
            return self._asked(self._low, first[:width])
        self._look()
        wanted = {r: size for r in free if r not in self._closed
                  and (size := self._next(r)) is not None}
        if not wanted:
            return []
        widest = max(wanted, key=lambda r: (self._known[r].belief().spread, -r))
        size = wanted.pop(widest)
        also = [r for r in wanted if self._tells(r, size)]
        return self._asked(size, [widest, *also][:width])

    def adopt(self, points: Sequence[Point]) -> None:
        """Takes over points that are under way."""
        self._pending |= dict.fromkeys(points)

    def tell(self, point: Point, outcome: Outcome) -> None:
        """That a cell has ended; what it shows, the tables say."""
        self._pending.pop(point, None)
        ratio = point.values.get("ratio")
        if ratio in self._told:
            self._told[ratio].add(point.values["batch_size"])
            if outcome.status == "failed":
                self._closed.add(ratio)

    @property
    def edges(self) -> tuple[Parting, ...]:
        """What is known of each ratio."""
        self._look()
        return tuple(self._parting(r) for r in self._ratios)

    def _asked(self, size: int, ratios: Sequence[float]) -> list[Point]:
        found = [Point({"ratio": r, "batch_size": size}) for r in ratios]
        self._pending |= dict.fromkeys(found)
        return found

    def _look(self) -> None:
        """Judges the tables anew: each verdict may change as the yardstick grows."""
        if not any(self._told.values()):
            return
        breaks = [b for b in self._judge() if b.reference == self._low]
        for ratio in self._ratios:
            known = Threshold(math.log(self._low), math.log(self._high), (math.log(self._low),))
            mine = [b for b in breaks if math.isclose(b.ratio, ratio, rel_tol=1e-6)]
            for step in mine[0].steps if mine else ():
                if step.coincides is not None:
                    known = known.told(math.log(step.batch_size), unstable=not step.coincides)
                elif step.batch_size in self._told[ratio]:
                    self._closed.add(ratio)
            self._known[ratio] = known

    def _next(self, ratio: float) -> int | None:
        """The S that halves what is not known of a ratio; None where it is known enough."""
        low, high = self._bracket(ratio)
        if low >= self._high or high / low <= 1 + self._resolution:
            return None
        place = math.exp(self._known[ratio].next(1)[0])
        open_ = [s for s in range(math.ceil(low), math.floor(min(high, self._high)) + 1)
                 if self._tells(ratio, s)]
        return min(open_, key=lambda s: (abs(math.log(s / place)), s), default=None)

    def _tells(self, ratio: float, size: int) -> bool:
        low, high = self._bracket(ratio)
        new = size not in self._told[ratio] and low < size < high
        return new and self._inside({"ratio": ratio, "batch_size": size})

    def _bracket(self, ratio: float) -> tuple[float, float]:
        known = self._known[ratio]
        if known.sharp:
            first = known.smallest_unstable
            return round(math.exp(known.largest_stable)), \
                first if first == math.inf else round(math.exp(first))
        belief = known.belief()
        return math.exp(belief.quantile(0.025)), math.exp(belief.quantile(0.975))

    def _parting(self, ratio: float) -> Parting:
        last, first = self._bracket(ratio)
        known = self._low in self._told[ratio] and ratio not in self._closed
        done = known and self._next(ratio) is None
        return Parting(ratio, self._low, last, first, "found" if done else "open")


def build(setup: Setup) -> BreakPoint:
    """The bisection of each listed ratio, judged by the tables of the sweep's folder."""
    space, options = setup.search.space, setup.search.options
    sizes, ratios = space["batch_size"], space["ratio"]
    assert isinstance(sizes, Range)
    assert isinstance(ratios, Choices)

    def judge() -> "Sequence[Break]":
        from analysis import load
        from analysis.collapse import breaks

        return breaks(load(setup.folder.parent), QUANTITY)

    return BreakPoint(int(sizes.low), int(sizes.high), ratios.values, judge,
                      resolution=options["resolution"], inside=setup.inside)
