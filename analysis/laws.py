"""Power laws of η and S, side by side, with the equivalence test of the ratio law.

y = c + a·log η + b·log S (+ noise), y = log metric or the logit of an accuracy; the ratio law is
a = −b. η means η/(1 − μ) where momentum varies. Noise may change the exponents too: a and b are
those without noise. Other varying settings get an intercept each.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import pandas as pd

from analysis.crossed import UNKNOWN, Crossing, Interval, Variance, crossing, least_squares, method
from analysis.frames import NOISES, Exclusion
from analysis.points import At, Points

MARGIN = 0.1
LEVEL = 0.05
Slopes: TypeAlias = tuple[tuple[float, float], ...]
# name -> (formula, columns of slopes as weights of (log η, log S))
FORMS: dict[str, tuple[str, Slopes]] = {
    "free": ("η^a S^b", ((1.0, 0.0), (0.0, 1.0))),
    "ratio": ("(η/S)^a", ((1.0, -1.0),)),
    "sqrt": ("(η/√S)^a", ((1.0, -0.5),)),
    "lr": ("η^a", ((1.0, 0.0),)),
    "batch": ("S^b", ((0.0, 1.0),)),
}
_MIN_DOF = 2


class Verdict(StrEnum):
    """Whether a metric follows η/S."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NO_LAW = "no law"
    NOT_FITTED = "not fitted"


@dataclass(frozen=True, eq=False)
class Law:
    """One fitted form. ``exponents``: a and b as they stand in ``formula``; ``covariates``: the
    slope per unit of each noise that varies, at the grid's centre. ``spread``: residual sd between
    cells; ``loo``: root mean square error of a cell predicted without it, both on the scale of y.
    ``p_zero``: that all exponents vanish. Unidentified: exponents are NaN and ``beta`` is None."""

    name: str
    formula: str
    exponents: dict[str, Interval]
    covariates: dict[str, Interval]
    spread: float = math.nan
    loo: float = math.nan
    aicc: float = math.nan
    p_zero: float = math.nan
    beta: np.ndarray | None = None
    variance: Variance | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """All laws of one metric at one point, with the verdict on the ratio law.

    ``total`` is a + b of the free law; the ratio law holds if its whole interval lies inside
    (−margin, margin), fails if outside. ``delta_aicc_curved``: AICc of the free law with
    (log η/S)² added, minus that of the free law.
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

    def predict(self, name: str, cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
        """y and the half width of its 95 % band at ``cells`` (columns as in ``crossing.cells``)."""
        law = self.laws[name]
        if law.beta is None or law.variance is None:
            return None
        design = _design(self.crossing.cells, cells, self.effective, FORMS[name][1])
        return design @ law.beta, law.variance.half_width(design)


def fit(chosen: Points, margin: float = MARGIN) -> Fit:
    """Fits every form to the cells of ``chosen``; never raises for want of data."""
    table = crossing(chosen.frame)
    effective = bool(table.cells["momentum"].nunique() > 1)
    laws = {name: _law(table, name, effective) for name in FORMS}
    free = laws["free"]
    total, share = UNKNOWN, 0.0
    if free.beta is not None and free.variance is not None:
        both = np.zeros(len(free.beta))
        both[-2:] = 1.0
        total = free.variance.interval(float(both @ free.beta), both)
        share = free.variance.seed_share(both)
    return Fit(
        metric=chosen.metric,
        at=chosen.at,
        crossing=table,
        method=method(table),
        laws=laws,
        total=total,
        verdict=_verdict(laws, total, margin),
        margin=margin,
        seed_share=share,
        effective=effective,
        delta_aicc_curved=_curved(table, effective) - free.aicc,
        exclusions=chosen.exclusions,
    )


def rows(fits: Iterable[Fit]) -> list[dict[str, object]]:
    """One plain row a law: what ``analysis/laws.parquet`` holds."""
    return [_row(fitted, law) for fitted in fits for law in fitted.laws.values()]


def _row(fitted: Fit, law: Law) -> dict[str, object]:
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
        "sum": fitted.total if law.name == "free" else UNKNOWN,
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
        "verdict": str(fitted.verdict),
        "effective_lr": fitted.effective,
        "method": fitted.method,
    }


def _verdict(laws: dict[str, Law], total: Interval, margin: float) -> Verdict:
    fitted = [laws[n] for n in ("free", "ratio", "lr", "batch") if laws[n].beta is not None]
    if not fitted:
        return Verdict.NOT_FITTED
    if not fitted[0].p_zero < LEVEL:
        return Verdict.NO_LAW
    if not math.isfinite(total.low):
        return Verdict.UNDECIDED
    slopes = laws["free"].exponents.values()
    if all(-margin < slope.low and slope.high < margin for slope in slopes):
        return Verdict.NO_LAW  # else two exponents near 0 would pass as opposite
    if -margin < total.low and total.high < margin:
        return Verdict.HOLDS
    return Verdict.FAILS if total.low >= margin or total.high <= -margin else Verdict.UNDECIDED


def _law(table: Crossing, name: str, effective: bool) -> Law:
    formula, slopes = FORMS[name]
    names = ("a", "b") if name == "free" else ("b",) if name == "batch" else ("a",)
    cells = table.cells
    unknown = Law(name, formula, dict.fromkeys(names, UNKNOWN), {})
    if not len(cells):
        return unknown
    design = _design(cells, cells, effective, slopes)
    rank = int(np.linalg.matrix_rank(design))
    base = int(np.linalg.matrix_rank(design[:, : -len(slopes)]))
    if rank - base < len(slopes) or len(cells) - rank < _MIN_DOF:
        return unknown
    beta, variance = least_squares(design, table.table)
    noises = _varying(cells)
    unit = np.eye(len(beta))
    first = len(beta) - len(slopes)
    at = {noise: first - len(noises) + i for i, noise in enumerate(noises)}
    spread, loo, aicc = _scores(design, table.means)
    return Law(
        name,
        formula,
        {n: variance.interval(float(beta[i]), unit[i]) for i, n in enumerate(names, first)},
        {n: variance.interval(float(beta[i]), unit[i]) for n, i in at.items()},
        spread,
        loo,
        aicc,
        variance.p_zero(beta, list(range(first, len(beta)))),
        beta,
        variance,
    )


def _varying(cells: pd.DataFrame) -> list[str]:
    return [noise for noise in NOISES if cells[noise].nunique() > 1]


def logs(cells: pd.DataFrame, effective: bool) -> np.ndarray:
    """(cells, 2): log η (of η/(1 − μ) if ``effective``) and log S."""
    lr = cells["lr"].to_numpy(float)
    if effective:
        lr = lr / (1 - cells["momentum"].to_numpy(float))
    return np.log(np.column_stack([lr, cells["batch_size"].to_numpy(float)]))


def _design(
    fitted: pd.DataFrame, cells: pd.DataFrame, effective: bool, slopes: Slopes
) -> np.ndarray:
    """Intercept by stratum, each varying noise times the slopes, the noises, then the slopes.

    Slopes are about the fitted cells' centre. The products let noise change the exponents, which
    are therefore those without noise; they are left out where the grid cannot tell them.
    """
    strata = np.unique(fitted["stratum"])

    def columns(rows: pd.DataFrame) -> tuple[np.ndarray, ...]:
        intercepts = (rows["stratum"].to_numpy()[:, None] == strata[None]).astype(float)
        noises = rows[_varying(fitted)].to_numpy(float)
        centred = logs(rows, effective) - logs(fitted, effective).mean(0)
        along = centred @ np.array(slopes).T
        products = (noises[:, :, None] * along[:, None]).reshape(len(rows), -1)
        return intercepts, products, noises, along

    whole = np.hstack(columns(fitted))
    told = np.linalg.matrix_rank(whole) == whole.shape[1] <= len(fitted) - _MIN_DOF
    intercepts, products, noises, along = columns(cells)
    return np.hstack([intercepts, products if told else products[:, :0], noises, along])


def _scores(design: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Residual sd, leave-one-cell-out error, AICc (Gaussian; the variance is a parameter too);
    NaN where the cells do not suffice."""
    hat = design @ np.linalg.pinv(design)
    residual, slack = y - hat @ y, 1 - np.diag(hat)
    rank, n = int(np.linalg.matrix_rank(design)), len(y)
    square = float(residual @ residual)
    free = slack > 1e-9
    loo = float(np.sqrt(np.mean((residual[free] / slack[free]) ** 2))) if free.any() else math.nan
    spread = math.sqrt(square / (n - rank)) if n > rank else math.nan
    k = rank + 1
    if n - k - 1 < 1:
        return spread, loo, math.nan
    aicc = n * math.log(max(square / n, 1e-300)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return spread, loo, aicc


def _curved(table: Crossing, effective: bool) -> float:
    cells = table.cells
    if len(cells) < 6:
        return math.nan
    design = _design(cells, cells, effective, FORMS["free"][1])
    bend = (design[:, -2] - design[:, -1]) ** 2
    bent = np.column_stack([design, bend])
    if np.linalg.matrix_rank(bent) == np.linalg.matrix_rank(design):
        return math.nan
    return _scores(bent, table.means)[2]
