"""Where along one axis runs stop being stable: what is known of it, and where to look next.

A run at x is unstable if x lies above the threshold θ. As long as all outcomes agree with one
threshold, θ lies between the largest stable and the smallest unstable x. Where they do not (the
edge is a matter of chance), P(unstable) = 1 / (1 + exp(−(x − θ) / w)): then θ is where half of the
runs are unstable, known by its posterior over a grid of θ and w.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

BEYOND = 0.05  # how likely a threshold is to lie beyond either end, before any run
_TRUST = 0.8  # in what is expected from neighbours; the rest is spread evenly
_BINS = 256
_WIDTHS = 9
_ZOOMS = 2
_SOFTER = 2.0  # the factor by which edges differ in softness, one deviation


@dataclass(frozen=True)
class Expected:
    """What neighbours say of a threshold: normal, with that mean and deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Belief:
    """Probabilities (bins,) of θ between ``borders`` (bins + 1,), and of its lying beyond the ends;
    ``softness``: the posterior mean of w, 0 while one threshold explains every outcome."""

    borders: np.ndarray
    inside: np.ndarray
    below: float
    above: float
    softness: float

    def quantile(self, level: float) -> float:
        """θ at that level; the ends stand for what lies beyond them."""
        if level <= self.below:
            return float(self.borders[0])
        if level >= 1 - self.above:
            return float(self.borders[-1])
        steps = np.concatenate([[0.0], np.cumsum(self.inside)]) + self.below
        return float(np.interp(level, steps, self.borders))

    @property
    def spread(self) -> float:
        """The width of the middle 95 %."""
        return self.quantile(0.975) - self.quantile(0.025)


@dataclass(frozen=True)
class Threshold:
    """What runs between ``low`` and ``high`` have shown: the x of the stable and the unstable."""

    low: float
    high: float
    stable: tuple[float, ...] = ()
    unstable: tuple[float, ...] = ()

    def told(self, x: float, *, unstable: bool) -> "Threshold":
        """With one more outcome."""
        if unstable:
            return Threshold(self.low, self.high, self.stable, (*self.unstable, x))
        return Threshold(self.low, self.high, (*self.stable, x), self.unstable)

    @property
    def largest_stable(self) -> float:
        """−∞ where no run was stable."""
        return max(self.stable, default=-math.inf)

    @property
    def smallest_unstable(self) -> float:
        """∞ where no run was unstable."""
        return min(self.unstable, default=math.inf)

    @property
    def sharp(self) -> bool:
        """Whether one threshold explains every outcome."""
        return self.largest_stable < self.smallest_unstable

    def belief(self, expected: Expected | None = None, softness: float = 0.0) -> Belief:
        """The posterior of θ. ``softness``: about what w is elsewhere; above 0 the edge is soft
        here too, wherever outcomes of both kinds are known.

        Cost: O(bins), and O(bins · widths · outcomes) where soft; kept for the same question.
        """
        return _belief(self, expected, softness)

    def next(
        self, count: int, expected: Expected | None = None, softness: float = 0.0
    ) -> tuple[float, ...]:
        """The ``count`` points that cut the belief into parts equally likely to hold θ: a bracket
        shrinks by ``count`` + 1. Where the edge is soft they also spread as wide as it is."""
        belief = self.belief(expected, softness)
        levels = [(i + 1) / (count + 1) for i in range(count)]
        found = [belief.quantile(u) + belief.softness * math.log(u / (1 - u)) for u in levels]
        if belief.softness == 0:
            found = self._apart(found)
        return tuple(min(max(x, self.low), self.high) for x in found)

    def zoomed(self, expected: Expected | None, softness: float) -> Belief:
        """The posterior of a soft edge, on a grid as wide as what is likely."""
        found = self._soft(self.low, self.high, expected, softness)
        for _ in range(_ZOOMS):
            low, high = found.quantile(0.0005), found.quantile(0.9995)
            room = max((high - low) / 4, (found.borders[1] - found.borders[0]) * 2)
            low, high = max(self.low, low - room), min(self.high, high + room)
            found = self._soft(low, high, expected, softness)
        return found

    def bracketed(self, expected: Expected | None) -> Belief:
        """The posterior of a sharp edge: what is expected, cut to the bracket."""
        a, b = self.largest_stable, self.smallest_unstable
        borders = np.linspace(min(max(a, self.low), self.high), max(min(b, self.high), self.low),
                              _BINS + 1)
        inside = _prior(borders, self.low, self.high, expected) * (borders[-1] > borders[0])
        below = above = BEYOND
        if expected is not None:
            below = (1 - _TRUST) * BEYOND + _TRUST * float(_normal(self.low, expected))
            above = (1 - _TRUST) * BEYOND + _TRUST * float(1 - _normal(self.high, expected))
        below *= a == -math.inf and b > self.low
        above *= b == math.inf and a < self.high
        total = inside.sum() + below + above
        if not total > 0:
            return Belief(borders, inside, float(b <= self.low), float(a >= self.high), 0.0)
        return Belief(borders, inside / total, below / total, above / total, 0.0)

    def _apart(self, found: Sequence[float]) -> list[float]:
        """An end that several points fall on is tried once; the others cut the rest evenly."""
        ends = [end for end in (self.low, self.high) if found.count(end) > 1]
        if not ends:
            return list(found)
        kept = sorted({x for x in found})
        left = max(self.largest_stable, self.low)
        right = min(self.smallest_unstable, self.high)
        while len(kept) < len(found) and right > left:
            marks = sorted({left, *kept, right})
            gap, start = max((b - a, a) for a, b in pairwise(marks))
            kept = sorted({*kept, start + gap / 2})
        return kept

    def _soft(
        self, low: float, high: float, expected: Expected | None, softness: float
    ) -> Belief:
        borders = np.linspace(low, high, _BINS + 1)
        theta = (borders[1:] + borders[:-1]) / 2
        reach = self.high - self.low
        least = max((self.largest_stable - self.smallest_unstable) / 20, reach * 1e-7)
        widths = np.geomspace(least, max(reach / 4, 2 * least), _WIDTHS)
        score = np.zeros((_WIDTHS, _BINS))
        if softness > 0:
            widths = softness * np.geomspace(1 / _SOFTER**2, _SOFTER**2, _WIDTHS)
            score -= 0.5 * (np.log(widths / softness) / math.log(_SOFTER))[:, None] ** 2
        for outcomes, sign in ((self.stable, 1.0), (self.unstable, -1.0)):
            for x, times in zip(*np.unique(outcomes, return_counts=True), strict=True):
                score -= times * np.logaddexp(0.0, sign * (x - theta) / widths[:, None])
        with np.errstate(divide="ignore"):
            score += np.log(_prior(borders, self.low, self.high, expected))
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        return Belief(borders, weight.sum(0), 0.0, 0.0, float(weight.sum(1) @ widths))


@lru_cache(maxsize=512)
def _belief(known: Threshold, expected: Expected | None, softness: float) -> Belief:
    both = bool(known.stable and known.unstable)
    if known.sharp and not (softness > 0 and both):
        return known.bracketed(expected)
    return known.zoomed(expected, softness)


def _prior(borders: np.ndarray, low: float, high: float, expected: Expected | None) -> np.ndarray:
    """The mass of each bin before any run."""
    even = np.diff(borders) / (high - low)
    if expected is None:
        return even
    return (1 - _TRUST) * even + _TRUST * np.diff(_normal(borders, expected))


def _normal(x: float | np.ndarray, expected: Expected) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr((np.asarray(x) - expected.mean) / expected.deviation)
