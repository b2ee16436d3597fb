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
    (∞ where they do to the end of the space). ``diverged``: whether most seeds diverge at
    ``first``: the law breaks there at the latest. ``state``: ``found``, ``open`` (further cells
    would tell more), ``given up`` (a cell failed, or cannot be compared), or ``no reference``: most
    seeds diverge at the reference already, and ``last`` is 0."""

    ratio: float
    reference: int
    last: float
    first: float
    diverged: bool
    state: str

    def __str__(self) -> str:
        """As a line of a terminal."""
        where = f"η/S = {self.ratio:g}"
        if self.state == "no reference":
            return (f"{where}: most seeds diverge at S = {self.reference} already, and nothing is "
                    "left to compare with; begin at a smaller batch size")
        end = f", not at {self.first:g}{', where most seeds diverge' if self.diverged else ''}"
        if self.first == math.inf:
            end = ", the end of the space" if self.state == "found" else ""
        rest = {"open": ", still open", "given up": "; given up, since a cell failed or cannot be "
                "compared"}.get(self.state, "")
        return f"{where}: coincides with S = {self.reference} up to S = {self.last:g}{end}{rest}"


class BreakPoint:
    """Proposes cells at one S a pack until the break of every ratio is known to ``resolution``.

    The reference is ``low``. ``judge``: the break points that the tables show now. A pack takes in
    all ratios that its S would tell something of. As in the analysis a ratio's break lies before
    its first cell that does not coincide, whatever larger ones do; a cell of which at least half of
    the seeds diverged does not. A ratio of which a cell failed, or cannot be compared, is given up.
    Deterministic, as the tables are.
    """

    def __init__(self, low: int, high: int, ratios: Sequence[float],
                 judge: Callable[[], "Sequence[Break]"], *, resolution: float = 0.1,
                 inside: Callable[[Mapping[str, float]], bool] = lambda _: True):
        self._low, self._high, self._resolution = low, high, resolution
        self._ratios = [r for r in ratios if inside({"ratio": r, "batch_size": low})]
        self._inside, self._judge = inside, judge
        self._pending: dict[Point, None] = {}
        self._told: dict[float, set[int]] = {r: set() for r in self._ratios}
        self._diverged: dict[float, set[int]] = {r: set() for r in self._ratios}
        self._failed: set[float] = set()
        self._known = {r: Threshold(math.log(low), math.log(high)) for r in self._ratios}

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` ratios at one S."""
        busy = {p.values["ratio"] for p in self._pending}
        free = [r for r in self._ratios if r not in busy and r not in self._failed]
        first = [r for r in free if self._low not in self._told[r]]
        if first:
            return self._asked(self._low, first[:width])
        uncompared = self._look()
        wanted = {r: size for r in free if r not in uncompared and r not in self._lost
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
        """That a cell has ended; what it shows, the tables say, but for whether it diverged."""
        self._pending.pop(point, None)
        ratio = point.values.get("ratio")
        if ratio not in self._told:
            return
        self._told[ratio].add(point.values["batch_size"])
        if outcome.diverged >= 0.5:
            self._diverged[ratio].add(point.values["batch_size"])
        elif outcome.status == "failed":
            self._failed.add(ratio)

    @property
    def edges(self) -> tuple[Parting, ...]:
        """What is known of each ratio."""
        uncompared = self._look()
        return tuple(self._parting(r, r in uncompared) for r in self._ratios)

    @property
    def _lost(self) -> set[float]:
        """Ratios without a reference."""
        return {r for r, sizes in self._diverged.items() if self._low in sizes}

    def _asked(self, size: int, ratios: Sequence[float]) -> list[Point]:
        found = [Point({"ratio": r, "batch_size": size}) for r in ratios]
        self._pending |= dict.fromkeys(found)
        return found

    def _look(self) -> set[float]:
        """Judges the tables anew, since a verdict may change as the yardstick grows. The ratios of
        which a cell that has ended cannot be compared."""
        breaks = [b for b in self._judge() if b.reference == self._low] if any(
            self._told.values()) else []
        uncompared = set()
        for ratio in self._ratios:
            mine = [b for b in breaks if math.isclose(b.ratio, ratio, rel_tol=1e-6)]
            verdicts = {step.batch_size: step.coincides for step in mine[0].steps} if mine else {}
            verdicts |= dict.fromkeys(self._diverged[ratio], False)
            known = Threshold(math.log(self._low), math.log(self._high), (math.log(self._low),))
            for size in sorted(self._told[ratio] | verdicts.keys()):
                if size > self._low and known.smallest_unstable == math.inf:
                    verdict = verdicts.get(size)
                    if verdict is None:
                        uncompared.add(ratio)
                    else:
                        known = known.told(math.log(size), unstable=not verdict)
            self._known[ratio] = known
        return uncompared

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
        first = self._known[ratio].smallest_unstable
        return (round(math.exp(self._known[ratio].largest_stable)),
                first if first == math.inf else round(math.exp(first)))

    def _parting(self, ratio: float, uncompared: bool) -> Parting:
        if ratio in self._lost:
            return Parting(ratio, self._low, 0, self._low, True, "no reference")
        last, first = self._bracket(ratio)
        known = self._low in self._told[ratio] and self._next(ratio) is None
        state = "given up" if uncompared or ratio in self._failed else "found" if known else "open"
        return Parting(ratio, self._low, last, first, first in self._diverged[ratio], state)


def build(setup: Setup) -> BreakPoint:
    """The bisection of each listed ratio, judged by the tables of the sweep's folder."""
    space, options = setup.search.space, setup.search.options
    sizes, ratios = space["batch_size"], space["ratio"]
    assert isinstance(sizes, Range)
    assert isinstance(ratios, Choices)

    def judge() -> "Sequence[Break]":
        from analysis import load
        from analysis.collapse import breaks

        return breaks(load(setup.store.folder), QUANTITY)

    return BreakPoint(int(sizes.low), int(sizes.high), ratios.values, judge,
                      resolution=options["resolution"], inside=setup.inside)
