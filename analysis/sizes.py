"""How the number of training examples N enters, where a sweep varies it.

Two questions. Does a metric follow the noise scale η·N/S of Smith & Le (2018, arXiv 1710.06451), or
η/S alone, whatever N is? And do runs of equal η/S part later the larger N is?
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.collapse import Break
from analysis.comparison import Comparison, compare
from analysis.crossed import UNKNOWN, Crossing, Interval, crossing
from analysis.forms import Form
from analysis.law import Law, law
from analysis.laws import MARGIN
from analysis.points import At, Points

_ANY = "sizeless_stratum"
SIZE_FORMS: dict[str, Form] = {
    "free": Form("η^a S^b N^c", ("a", "b", "c"), ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)), _ANY),
    "scale": Form("(η/S)^a N^c", ("a", "c"), ((1.0, -1.0, 0), (0, 0, 1.0)), _ANY),
    "noise_scale": Form("(ηN/S)^a", ("a",), ((1.0, -1.0, 1.0),), _ANY),
    "ratio": Form("(η/S)^a", ("a",), ((1.0, -1.0, 0),), _ANY),
}


@dataclass(frozen=True, eq=False)
class SizeFit:
    """``laws``: as in SIZE_FORMS. ``size``: c of the free law, 0 if only η and S matter.
    ``scale``: c − a of it, 0 if N enters as in ηN/S. ``verdict``: "η/S" or "ηN/S" if the whole
    interval of the one lies inside the margin and that of the other does not touch it, else
    "neither" or "undecided"."""

    metric: str
    at: At
    crossing: Crossing
    laws: dict[str, Law]
    size: Interval
    scale: Interval
    margin: float
    verdict: str

    @property
    def comparison(self) -> Comparison | None:
        """η/S against ηN/S by cells left out."""
        left_out = {name: found.left_out for name, found in self.laws.items()}
        return compare(left_out, ("noise_scale", "ratio"))


def fit_sizes(chosen: Points, margin: float = MARGIN) -> SizeFit | None:
    """The laws with N in them; None where N does not vary."""
    if chosen.frame.empty or chosen.frame["train_size"].nunique() < 2:
        return None
    table = crossing(chosen.frame)
    effective = bool(table.cells["momentum"].nunique() > 1)
    laws = {name: law(table, name, form, effective) for name, form in SIZE_FORMS.items()}
    free = laws["free"]
    size = scale = UNKNOWN
    if free.beta is not None and free.variance is not None:
        combinations = np.zeros((2, len(free.beta)))
        combinations[:, -1] = 1.0
        combinations[1, -3] = -1.0
        size, scale = (
            free.variance.interval(float(row @ free.beta), row) for row in combinations
        )
    verdict = _verdict(size, scale, margin)
    return SizeFit(chosen.metric, chosen.at, table, laws, size, scale, margin, verdict)


def _verdict(size: Interval, scale: Interval, margin: float) -> str:
    if not math.isfinite(size.low):
        return "undecided"
    by_ratio, by_scale = (_place(found, margin) for found in (size, scale))
    if (by_ratio, by_scale) == ("inside", "outside"):
        return "η/S"
    if (by_ratio, by_scale) == ("outside", "inside"):
        return "ηN/S"
    return "neither" if (by_ratio, by_scale) == ("outside", "outside") else "undecided"


def _place(found: Interval, margin: float) -> str:
    if -margin < found.low and found.high < margin:
        return "inside"
    return "outside" if found.low >= margin or found.high <= -margin else "across"


@dataclass(frozen=True)
class Growth:
    """The break point against N. ``breaks``: those of one quantity at the ratios that several N
    share, each on the factors that all N of its ratio have. ``slope``: by how many doublings the
    last factor that coincides moves with a doubling of N, averaged over the ``ratios`` at which
    any N breaks; its interval resamples seeds, the same in all N (percentiles). ``few_seeds``:
    whether one of these has fewer than five, so that the interval is an indication that decides
    nothing. ``verdict``: later, earlier, undecided, or "no break" where none is within those
    factors.

    A break beyond the last shared factor counts as being there, whatever N is. That shrinks the
    slope towards 0 and keeps its sign where the break moves one way with N; taken at the end of
    each N's own grid it would grow with N because S ≤ N.
    """

    quantity: str
    setting_label: str
    ratios: int
    breaks: tuple[Break, ...]
    slope: Interval
    verdict: str
    few_seeds: bool = False

    @property
    def largest(self) -> float:
        """The largest factor up to which any ratio was compared."""
        return max(b.steps[-1].factor for b in self.breaks)

    @property
    def censored(self) -> bool:
        """Whether some N does not break within the factors that are compared."""
        return any(b.last.value >= b.steps[-1].factor for b in self.breaks)


def growth(breaks: Iterable[Break]) -> tuple[Growth, ...]:
    """Whether the break comes later for larger N, for each quantity and setting that has several
    N at one ratio."""
    found = []
    for (quantity, label), some in _grouped(breaks, lambda b: (b.quantity, b.sizeless_label)):
        families = [cut for _, part in _grouped(some, lambda b: _rounded(b.ratio))
                    if (cut := _shared(part))]
        if families:
            found.append(_growth(quantity, label, families))
    return tuple(found)


def _grouped(breaks, key):
    parts: dict = {}
    for one in breaks:
        if math.isfinite(one.last.value):
            parts.setdefault(key(one), []).append(one)
    return sorted(parts.items())


def _rounded(ratio: float) -> float:
    return float(f"{ratio:.6g}")


def _shared(family: Sequence[Break]) -> tuple[Break, ...]:
    """The breaks of one ratio from the same smallest batch, in order of N, on the factors that all
    of them have; empty if several N share none."""
    least = min(b.reference for b in family)
    family = sorted((b for b in family if b.reference == least), key=lambda b: b.train_size)
    shared = sorted(set.intersection(*({step.factor for step in b.steps} for b in family)))
    if not shared or len({b.train_size for b in family}) < 2:
        return ()
    known = np.array([1.0, *shared])

    def on(factors: np.ndarray | float) -> np.ndarray:
        return known[np.searchsorted(known, factors, side="right") - 1]

    return tuple(replace(
        b, steps=tuple(step for step in b.steps if step.factor in shared), draws=on(b.draws),
        last=Interval(*(float(on(end)) for end in (b.last.value, b.last.low, b.last.high))))
        for b in family)


def _growth(quantity: str, label: str, families: Sequence[Sequence[Break]]) -> Growth:
    everyone = tuple(b for part in families for b in part)
    broken = [part for part in families if any(b.last.value < b.steps[-1].factor for b in part)]
    slopes, draws = [], []
    for family in broken:
        n = np.log2([b.train_size for b in family])
        weight = (n - n.mean()) / ((n - n.mean()) ** 2).sum()
        slopes.append(float(weight @ np.log2([b.last.value for b in family])))
        draws.append(weight @ np.log2([b.draws for b in family]))
    if not broken:
        return Growth(quantity, label, len(families), everyone, UNKNOWN, "no break")
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    slope = Interval(float(np.mean(slopes)), float(low), float(high))
    few = any(b.few_seeds for part in broken for b in part)
    return Growth(quantity, label, len(broken), everyone, slope, _direction(slope, few), few)


def _direction(slope: Interval, few_seeds: bool) -> str:
    if few_seeds:  # all draws of a few seeds may agree, so the ends say nothing of chance
        return "undecided"
    return "later" if slope.low > 0 else "earlier" if slope.high < 0 else "undecided"


def size_rows(fits: Iterable[SizeFit]) -> list[dict[str, object]]:
    """One plain row a law."""
    return [
        {
            "metric": fitted.metric,
            "at": fitted.at.kind,
            "level": fitted.at.level,
            "law": name,
            "formula": found.formula,
            **{
                f"{exponent}{end}": getattr(found.exponents.get(exponent, UNKNOWN), part)
                for exponent in ("a", "b", "c")
                for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
            },
            "leave_one_cell_out": found.loo,
            "aicc": found.aicc,
            "verdict": fitted.verdict,
        }
        for fitted in fits
        for name, found in fitted.laws.items()
    ]


def growth_frame(found: Iterable[Growth]) -> pd.DataFrame:
    """One row a break: quantity, setting, ratio, N, the last factor with its interval, verdict."""
    return pd.DataFrame([
        {"quantity": g.quantity, "setting": g.setting_label, "ratio": b.ratio,
         "train_size": b.train_size, "last_factor": b.last.value, "last_factor_low": b.last.low,
         "last_factor_high": b.last.high, "seeds": b.seeds, "slope": g.slope.value,
         "slope_low": g.slope.low, "slope_high": g.slope.high, "verdict": g.verdict}
        for g in found for b in g.breaks
    ])
