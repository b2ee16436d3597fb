"""Power laws of η and S, side by side, with the equivalence test of the ratio law.

y = c + a·log η + b·log S (+ noise), y = log metric or the logit of a rate; the ratio law is a = −b,
tested as a + b = 0: by the slope on log S inside families of equal ratio where the grid has them
(analysis/equalratio.py), else in the free law. η means η/(1 − μ) where momentum varies. Noise may
change the exponents too: a and b are those without noise. Other varying settings get an intercept
each.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.crossed import UNKNOWN, Crossing, Estimate, Interval, crossing, method
from analysis.equalratio import EqualRatio, equal_ratio
from analysis.forms import FORMS, design, logs
from analysis.frames import NOISES, Exclusion
from analysis.hull import inside
from analysis.law import Law, law, scored, total
from analysis.points import At, Points

MARGIN = 0.1
LEVEL = 0.05
BENT = -10.0
FREE, EQUAL_RATIO = "free law", "equal ratio"


class Verdict(StrEnum):
    """Whether a metric follows η/S."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NO_LAW = "no law"
    NOT_FITTED = "not fitted"


@dataclass(frozen=True, eq=False)
class Fit:
    """All laws of one metric at one point, with the verdict on the ratio law.

    ``total``: a + b by the way ``basis``, "equal ratio" or "free law"; the ratio law holds if its
    whole t interval lies inside (−margin, margin), fails if outside. ``sums``: a + b by both ways,
    with bootstrap intervals. ``seed_share``: the seeds' share of the variance of ``total``.
    ``delta_aicc_curved``: AICc of the free law with (log η/S)² added, minus that of the free law.
    """

    metric: str
    at: At
    crossing: Crossing
    method: str
    laws: dict[str, Law]
    total: Interval
    verdict: Verdict
    margin: float
    seed_share: float
    effective: bool
    delta_aicc_curved: float
    exclusions: tuple[Exclusion, ...]
    basis: str = FREE
    sums: dict[str, Estimate] = field(default_factory=dict)
    equal_ratio: EqualRatio | None = None

    @property
    def runs(self) -> int:
        """Runs in the fit."""
        return self.crossing.observed

    @property
    def cells(self) -> int:
        """Cells in the fit."""
        return len(self.crossing.cells)

    @property
    def seeds(self) -> int:
        """Different seeds."""
        return self.crossing.seeds

    @property
    def bent(self) -> bool:
        """Whether a quadratic in log η/S is far better than the power law (ΔAICc below −10)."""
        return self.delta_aicc_curved < BENT

    @property
    def resampled(self) -> Interval | None:
        """The bootstrap interval of ``total``; None below five seeds."""
        return self.sums[self.basis].resampled if self.sums else None

    @property
    def comparison(self) -> Comparison | None:
        """Which law predicts a cell left out best; None where there is too little to tell."""
        return compare({name: law.left_out for name, law in self.laws.items()})

    def predict(self, name: str, cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
        """y and the half width of its 95 % band at ``cells`` (columns as in ``crossing.cells``)."""
        found = self.laws[name]
        if found.beta is None or found.variance is None:
            return None
        rows = design(self.crossing.cells, cells, self.effective, FORMS[name])
        return rows @ found.beta, found.variance.half_width(rows)

    def inside(self, cells: pd.DataFrame) -> np.ndarray:
        """Which of ``cells`` lie inside the hull of the fitted ones in (log η, log S); a prediction
        for the others is an extrapolation."""
        return inside(logs(self.crossing.cells, self.effective), logs(cells, self.effective))


def fit(chosen: Points, margin: float = MARGIN, resample: bool = True) -> Fit:
    """Fits every form to the cells of ``chosen``; never raises for want of data.

    ``resample``: also make bootstrap intervals where there are five seeds or more.
    """
    table = crossing(chosen.frame)
    effective = bool(table.cells["momentum"].nunique() > 1)
    laws = {
        name: law(table, name, form, effective, resample and name in ("free", "ratio"))
        for name, form in FORMS.items()
    }
    shared = equal_ratio(table, effective, resample)
    sums = {FREE: total(table, laws["free"], FORMS["free"], effective, resample)}
    sums[EQUAL_RATIO] = shared.slope if shared else Estimate()
    basis = EQUAL_RATIO if shared is not None and shared.suffices else FREE
    used = sums[basis]
    curved = _curved(table, effective) - laws["free"].aicc
    bent = basis == EQUAL_RATIO and curved < BENT
    return Fit(
        metric=chosen.metric,
        at=chosen.at,
        crossing=table,
        method=method(table),
        laws=laws,
        total=used.interval,
        verdict=_verdict(laws, used.interval, margin, bent),
        margin=margin,
        seed_share=used.seed_share,
        effective=effective,
        delta_aicc_curved=curved,
        exclusions=chosen.exclusions,
        basis=basis,
        sums=sums,
        equal_ratio=shared,
    )


def rows(fits: Iterable[Fit]) -> list[dict[str, object]]:
    """One plain row a law: what ``analysis/laws.parquet`` holds."""
    found = []
    for fitted in fits:
        against = fitted.comparison
        rivals = {rival.name: rival.smaller for rival in against.rivals} if against else {}
        found += [_row(fitted, law, rivals.get(law.name, UNKNOWN)) for law in fitted.laws.values()]
    return found


def _row(fitted: Fit, law: Law, gain: Interval) -> dict[str, object]:
    free = law.name == "free"
    flat: dict[str, object] = {
        "metric": fitted.metric,
        "at": fitted.at.kind,
        "level": fitted.at.level,
        "law": law.name,
        "formula": law.formula,
        "runs": fitted.runs,
        "cells": fitted.cells,
        "seeds": fitted.seeds,
    }
    estimates = {
        **{name: law.exponents.get(name, UNKNOWN) for name in ("a", "b")},
        "sum": fitted.total if free else UNKNOWN,
        **{f"{name}_resampled": law.resampled.get(name, UNKNOWN) for name in ("a", "b")},
        "sum_resampled": (fitted.resampled if free else None) or UNKNOWN,
        "gain_of_best": gain,
        **{noise: law.covariates.get(noise, UNKNOWN) for noise in NOISES},
    }
    for name, estimate in estimates.items():
        flat |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return flat | {
        "p_zero": law.p_zero,
        "spread": law.spread,
        "leave_one_cell_out": law.loo,
        "aicc": law.aicc,
        "margin": fitted.margin,
        "basis": fitted.basis,
        "verdict": str(fitted.verdict),
        "effective_lr": fitted.effective,
        "method": fitted.method,
    }


def _verdict(laws: dict[str, Law], total: Interval, margin: float, bent: bool) -> Verdict:
    """``bent``: the metric bends along the ratio, and a + b is known at equal ratio, where that
    does not matter: then exponents near 0 do not say that the metric is flat."""
    fitted = [laws[n] for n in ("free", "ratio", "lr", "batch") if laws[n].beta is not None]
    if not fitted:
        return Verdict.NOT_FITTED
    if not fitted[0].p_zero < LEVEL and not bent:
        return Verdict.NO_LAW
    if not math.isfinite(total.low):
        return Verdict.UNDECIDED
    return equivalence(total, () if bent else tuple(laws["free"].exponents.values()), margin)


def equivalence(total: Interval, exponents: Sequence[Interval], margin: float) -> Verdict:
    """Holds if the whole of a + b lies inside (−margin, margin), fails if outside; no law if both
    ``exponents`` do, for then they would pass as opposite whatever they are."""
    if exponents and all(-margin < e.low and e.high < margin for e in exponents):
        return Verdict.NO_LAW
    if -margin < total.low and total.high < margin:
        return Verdict.HOLDS
    return Verdict.FAILS if total.low >= margin or total.high <= -margin else Verdict.UNDECIDED


def _curved(table: Crossing, effective: bool) -> float:
    cells = table.cells
    if len(cells) < 6:
        return math.nan
    rows = design(cells, cells, effective, FORMS["free"])
    bend = (rows[:, -2] - rows[:, -1]) ** 2
    bent = np.column_stack([rows, bend])
    if np.linalg.matrix_rank(bent) == np.linalg.matrix_rank(rows):
        return math.nan
    return scored(bent, table.means).aicc
