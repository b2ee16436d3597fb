"""Which law predicts a cell that it has not seen best, and by how much.

Each cell is predicted by the law fitted to all others; the errors of two laws are compared cell by
cell, so that a cell that no law predicts well favours neither.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis import bootstrap
from analysis.crossed import Interval

ALONE = ("ratio", "sqrt", "lr", "batch")
_LEAST = 6


@dataclass(frozen=True)
class Rival:
    """Another law against the best. ``smaller``: by which share the root mean square error of the
    best is smaller than the rival's, 0.3 for 30 %; negative where the rival's is smaller."""

    name: str
    smaller: Interval

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.smaller.low > 0 or self.smaller.high < 0


@dataclass(frozen=True)
class Comparison:
    """``best``: the law of one exponent with the smallest error; ``rivals`` the others, the closest
    first, the free law among them."""

    best: str
    rivals: tuple[Rival, ...]


def compare(
    left_out: Mapping[str, np.ndarray], alone: tuple[str, ...] = ALONE
) -> Comparison | None:
    """Compares laws by their errors on left-out cells (name -> one error a cell, NaN where a cell
    cannot be left out). None below six cells or two laws of one exponent.

    The interval of 1 − rmse_best / rmse_rival is from the bootstrap over cells (2,000 draws).
    """
    known = {name: e for name, e in left_out.items() if np.isfinite(e).sum() >= _LEAST}
    judged = [name for name in alone if name in known]
    if len(judged) < 2:
        return None
    best = min(judged, key=lambda name: _rms(known[name]))
    rivals = [Rival(name, _smaller(known[best], e)) for name, e in known.items() if name != best]
    return Comparison(best, tuple(sorted(rivals, key=lambda rival: rival.smaller.value)))


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(errors**2)))


def _smaller(best: np.ndarray, rival: np.ndarray) -> Interval:
    both = np.isfinite(best) & np.isfinite(rival)
    first, second = best[both] ** 2, rival[both] ** 2
    if not (second.sum() > 0 and both.sum() >= _LEAST):
        return Interval(math.nan, math.nan, math.nan)
    drawn = bootstrap.weights(int(both.sum()))
    shares = 1 - np.sqrt((drawn @ first) / (drawn @ second))
    value = 1 - math.sqrt(float(first.sum() / second.sum()))
    return bootstrap.expanded(shares, value, float(both.sum() - 1))
