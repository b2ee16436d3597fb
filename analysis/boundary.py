"""The largest learning rate that does not diverge, as a law of the batch size: η* ~ S^c.

Each batch size and seed brackets its threshold between the largest η that finished and the
smallest that diverged; the median seed's bracket stands for the batch size. The law is the
interval-censored normal regression log η* = c₀ + c·log S + σ·ε, so a run that never diverged
within the grid, or always did, is in it as that. Batch sizes are the units, not runs: seeds that
diverge together are one witness.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.censored import maximise, terms
from analysis.crossed import UNKNOWN, Interval
from analysis.frames import Sweep

_LEAST = 0.01
_REACH = 60.0


@dataclass(frozen=True, eq=False)
class Boundary:
    """``exponent``: c. ``brackets``: a row a setting and batch size (columns ``setting``,
    ``setting_label``, ``batch_size``, ``seeds`` and ``low``, ``high``: the median seed's bracket of
    η*; 0 and ∞ where the grid ends before). ``diverged`` and ``runs`` count runs; ``returns`` those
    that finished although a smaller η had diverged. ``spread``: sd of log η* between seeds and
    batch sizes, 0 where one line parts all runs; None where too few thresholds are bracketed to
    tell. ``line``: c₀ and c of the seeds' own thresholds."""

    exponent: Interval
    brackets: pd.DataFrame
    diverged: int
    runs: int
    returns: int
    spread: float | None
    line: tuple[float, float] | None

    def at(self, batch_size: float, setting: int | None = None) -> Interval:
        """η* at a batch size, in the setting given or the first; its 95 % interval is that of the
        median seed's threshold. Beyond the batch sizes that were run it is an extrapolation."""
        rows = self.brackets
        setting = rows["setting"].iloc[0] if setting is None else setting
        design, low, high = _data(rows, math.log(batch_size))
        chosen = rows["setting"].to_numpy() == setting
        others = [s for s in np.unique(rows["setting"]) if s != setting]
        shifts = [(rows["setting"].to_numpy() == s).astype(float) for s in others]
        design = np.column_stack([np.ones(len(rows)), *shifts, design[:, -1]])
        if not chosen.any():
            return UNKNOWN
        found = _profiled(design, 0, low, high)
        return Interval(*(math.exp(x) for x in (found.value, found.low, found.high)))

    def probability(self, lr: float, batch_size: float) -> float:
        """That a run diverges: Φ((log η − c₀ − c·log S) / spread); NaN where that is unknown."""
        from scipy.special import ndtr

        if self.line is None or self.spread is None:
            return math.nan
        off = math.log(lr) - self.line[0] - self.line[1] * math.log(batch_size)
        return float(ndtr(off / max(self.spread, _LEAST)))


def boundary(sweep: Sweep) -> Boundary | None:
    """The boundary of divergence; None where no run diverged or none finished."""
    runs = sweep.runs[sweep.runs["status"].isin(["finished", "stopped", "diverged"])]
    gone = runs["status"] == "diverged"
    if not gone.any() or gone.all():
        return None
    thresholds, returns = _thresholds(runs)
    brackets = _medians(thresholds)
    design, low, high = _data(brackets)
    exponent = _profiled(design, design.shape[1] - 1, low, high)
    spread, line = _spread(thresholds)
    return Boundary(exponent, brackets, int(gone.sum()), len(runs), returns, spread, line)


def _thresholds(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """A bracket of η* for every setting, batch size and seed."""
    rows, returns = [], 0
    for (setting, batch, seed), some in runs.groupby(["setting", "batch_size", "seed"]):
        gone = some["status"] == "diverged"
        high = some.loc[gone, "lr"].min() if gone.any() else math.inf
        fine = some.loc[~gone, "lr"]
        returns += int((fine > high).sum())
        below = fine[fine < high]
        rows.append((setting, some["setting_label"].iloc[0], batch, seed,
                     below.max() if len(below) else 0.0, high))
    columns = ["setting", "setting_label", "batch_size", "seed", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns)
    some_diverged = frame.groupby("setting")["high"].transform("min") < math.inf
    return frame[some_diverged].reset_index(drop=True), returns


def _medians(thresholds: pd.DataFrame) -> pd.DataFrame:
    """The median seed's bracket of every batch size; of an even number the wider one."""
    keys = ["setting", "setting_label", "batch_size"]
    parts = thresholds.groupby(keys)
    low = parts["low"].quantile(0.5, interpolation="lower")
    high = parts["high"].apply(lambda h: np.sort(h.to_numpy())[len(h) // 2])
    return pd.DataFrame({"low": low, "high": high, "seeds": parts.size()}).reset_index()


def _data(rows: pd.DataFrame, origin: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intercepts by setting and log S from ``origin``; log brackets."""
    settings = np.unique(rows["setting"])
    own = (rows["setting"].to_numpy()[:, None] == settings).astype(float)
    size = np.log(rows["batch_size"].to_numpy(float)) - origin
    with np.errstate(divide="ignore"):
        low, high = (np.log(rows[name].to_numpy(float)) for name in ("low", "high"))
    return np.column_stack([own, size]), low, high


def _spread(thresholds: pd.DataFrame) -> tuple[float | None, tuple[float, float] | None]:
    """σ over seeds and batch sizes, and the line (c₀, c) of the first setting."""
    design, low, high = _data(thresholds)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None, None
    found = _bounded(design, low, high)
    if found is None:
        return None, None
    beta, sigma, _ = found
    return (0.0 if sigma < 2 * _LEAST else sigma), (float(beta[0]), float(beta[-1]))


def _profiled(design: np.ndarray, which: int, low: np.ndarray, high: np.ndarray) -> Interval:
    """Coefficient ``which`` and its profile-likelihood interval, the drop calibrated so that it is
    the t interval where nothing is censored: ½ n log(1 + t² / dof)."""
    from scipy.special import stdtrit

    n, p = design.shape
    both = np.isfinite(low) & np.isfinite(high)
    if np.linalg.matrix_rank(design) < p or both.sum() < 2:
        return UNKNOWN
    best = _bounded(design, low, high)
    if best is None:
        return UNKNOWN
    others, column = np.delete(design, which, axis=1), design[:, which]
    dof = n - p

    def value(x: float) -> float:
        found = _bounded(others, low - x * column, high - x * column)
        return -math.inf if found is None else found[2]

    estimate = float(best[0][which])
    if dof < 1:
        return Interval(estimate, math.nan, math.nan)
    drop = n / 2 * math.log1p(float(stdtrit(dof, 0.975)) ** 2 / dof)
    least = best[2] - drop
    ends = (_end(value, estimate, least, side) for side in (-1.0, 1.0))
    return Interval(estimate, *ends)


def _end(value: Callable[[float], float], start: float, least: float, side: float) -> float:
    """Where ``value`` falls below ``least``, going from ``start`` to one side."""
    inside, step = 0.0, 0.05
    while value(start + side * (inside + step)) > least:
        inside, step = inside + step, 2 * step
        if inside > _REACH:
            return side * math.inf
    outside = inside + step
    for _ in range(20):
        middle = (inside + outside) / 2
        if value(start + side * middle) > least:
            inside = middle
        else:
            outside = middle
    return start + side * outside


def _bounded(
    design: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, float, float] | None:
    """β, σ and the log-likelihood with σ ≥ 1 %: a grid cannot tell a sharper boundary."""
    from scipy.optimize import minimize

    free = maximise(design, low, high, _LEAST) if design.shape[1] else None
    if free is not None:
        return free.beta, free.sigma, free.value
    middle = np.clip(np.where(np.isfinite(low), low, high - 1), None, np.where(
        np.isfinite(high), high, low + 1))
    middle = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, middle)
    beta = np.linalg.lstsq(design, middle, rcond=None)[0] if design.shape[1] else np.zeros(0)
    start = np.append(beta, 1.0) / max(float(np.std(middle - design @ beta)), 0.3)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, scores, _ = terms(design, low, high, theta)
        return -value, -scores.sum(0)

    limits = [(None, None)] * design.shape[1] + [(1e-3, 1 / _LEAST)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits)
    if not np.isfinite(found.fun):
        return None
    theta = found.x
    return theta[:-1] / theta[-1], float(1 / theta[-1]), -float(found.fun)
