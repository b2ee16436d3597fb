"""One seed's runs along one line of the boundary, how long each was trained, and its edge."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations

from orchestrator.search.threshold import Belief, Expected, Threshold


@dataclass(frozen=True)
class Track:
    """What was told along log η: ``known``; ``steps``: how many each run was trained, where that is
    known. ``runs`` counts all outcomes."""

    known: Threshold
    steps: Mapping[float, float] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """Outcomes told."""
        return len(self.known.stable) + len(self.known.unstable)

    def told(self, x: float, *, unstable: bool, steps: float = math.nan) -> "Track":
        """With one more outcome; an x that rounding moved from an end of the line is that end."""
        for end in (self.known.low, self.known.high):
            x = end if math.isclose(x, end, rel_tol=1e-9, abs_tol=1e-9) else x
        known = self.known.told(x, unstable=unstable)
        return replace(self, known=known, steps={**self.steps, x: steps} if steps > 0
                       else self.steps)

    def belief(self, expected: Expected | None, softness: float) -> Belief:
        """Where the edge is; see Threshold."""
        return self.known.belief(expected, softness)

    def within(self, expected: Expected | None, softness: float) -> tuple[float, float]:
        """The bracket of a sharp edge as runs of this length tell it, the 95 % interval of a soft
        one; infinite where an end is not known."""
        belief = self.belief(expected, softness)
        if belief.softness == 0:
            return self.known.largest_stable, self.known.smallest_unstable
        return belief.quantile(0.025), belief.quantile(0.975)

    def interval(self, expected: Expected | None, softness: float) -> tuple[float, float]:
        """Of the edge itself: a sharp bracket begins at ``earliest``."""
        low, high = self.within(expected, softness)
        soft = self.belief(expected, softness).softness > 0
        return (low if soft else min(low, self.earliest)), high

    @property
    def earliest(self) -> float:
        """Below the bracket, where a run past the edge may grow too slowly to diverge in its steps.

        A run at η* (1 + δ) grows by a rate r that is 0 at η* and rises with η ever less steeply (on
        a quadratic r = 2 log(1 + 2δ)), and diverges after A / r steps: so 1 / steps, in log η,
        meets 0 no later than any of its chords does. The chords are those of the two smallest that
        diverged and of the largest that did not, which has at most 1 / steps. Of these bounds the
        best; the line's end where no chord rises.
        """
        low = self.known.largest_stable
        ends = sorted({x for x in self.known.unstable if x > low and x in self.steps})[:2]
        if low not in self.steps or not ends:
            return low
        paces = [(x, 1 / self.steps[x]) for x in (low, *ends)]
        chords = [a - p * (b - a) / (q - p) for (a, p), (b, q) in combinations(paces, 2) if q > p]
        return min(low, max(chords, default=self.known.low))
