"""What a search for the boundary tells of one line: the edge, over its seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.crossed import over_seeds


@dataclass(frozen=True)
class Edge:
    """The boundary on one line. ``scalars``: what is fixed there.

    With one seed ``low``, ``high`` hold its edge: from the largest stable η, less what slow
    divergence may hide, to the smallest unstable one; or where chance decides for one seed too
    (``softness`` > 0, in log η) the 95 % interval of the η at which half of the runs diverge. With
    several, each has an edge of its own: ``value`` is their geometric mean, ``low`` and ``high``
    its 95 % t interval over seeds, widened by what is not known of each, ``deviation`` theirs about
    it, in log η. ``state``: ``found``, ``open`` (further runs would narrow it), ``stable
    everywhere`` or ``unstable everywhere`` in the space; of the latter two one end is unknown (0 or
    ∞)."""

    scalars: Mapping[str, Any]
    value: float
    low: float
    high: float
    softness: float
    state: str
    runs: int
    diverged: int
    seeds: int = 1
    deviation: float = 0.0

    def __str__(self) -> str:
        """As a line of a terminal."""
        where = ", ".join(f"{k} = {v}" for k, v in self.scalars.items())
        over = f"({self.diverged} of {self.runs} runs diverged)"
        if self.state == "stable everywhere":
            return f"{where}: stable up to η = {self.low:.6g}, the end of the space {over}"
        if self.state == "unstable everywhere":
            return f"{where}: unstable from η = {self.high:.6g} on, the end of the space {over}"
        seeds = (f", the mean of {self.seeds} seeds, whose edges differ by a factor "
                 f"{math.exp(self.deviation):.3g}" if self.seeds > 1 else "")
        soft = f", where chance decides within a factor {math.exp(self.softness):.3g}"
        return (f"{where}: η* = {self.value:.6g} [{self.low:.6g}, {self.high:.6g}]{seeds}"
                f"{soft if self.softness else ''}{' still open' if self.state == 'open' else ''} "
                f"{over}")


def over(intervals: Sequence[tuple[float, float]], ends: tuple[float, float]
         ) -> tuple[float, float, float, float]:
    """Mean, its 95 % interval and the deviation of the seeds' edges, from the interval of each, in
    log η. A seed without an edge between the ``ends`` of the line counts as one at that end, and
    leaves the interval open there. Infinite with a single seed."""
    lows, highs = np.array(intervals, float).T
    middles = (np.clip(lows, *ends) + np.clip(highs, *ends)) / 2
    mean = over_seeds(middles)
    half = mean.half if math.isfinite(mean.half) else math.inf
    spread = float(middles.std(ddof=1)) if len(middles) > 1 else math.nan
    return mean.value, float(lows.mean()) - half, float(highs.mean()) + half, spread


def plain(edge: Any) -> dict[str, Any]:
    """An Edge, or what another proposer tells of one, for JSON: null where an end is not known."""
    return {n: None if isinstance(v, float) and not math.isfinite(v) else v
            for n, v in asdict(edge).items()}
