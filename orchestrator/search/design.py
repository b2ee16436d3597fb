"""Which cells tell the exponents of a law best: log metric = c + a·log η + b·log S.

The interval of an exponent is as wide as the variance of its least-squares estimate, which depends
on where the cells lie and how much the metric scatters there, not on what the exponent is (Fedorov
1972): so the next cells are those that lower it most. ``sum`` is a + b, the ratio law's test: the
slope on log S at equal η/S, where each ratio may lie off the line by an amount of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from analysis.points import is_rate
from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.search.section import Range

Scalars = Mapping[str, Any]
_COMBINATIONS = {"a": (1.0, 0.0), "b": (0.0, 1.0), "sum": (1.0, 1.0)}
_STEPS = 24  # candidates along η
_CHECK = 4  # every fourth pack goes where the design would not: to see whether the law bends
_PRIOR_CELLS = 4.0
_VAGUE = 1e-4
_BEND = 2.0  # what a ratio's cells may lie off a straight law of η/S, in deviations of a cell


class Law:
    """Proposes packs of cells at one S each, for the interval of ``exponent``: a, b, sum or both.

    Begins at the largest and the smallest S; every fourth pack goes to the S with the fewest cells,
    the middle first. Candidates lie on common ratios η/S, so that cells can be compared at equal
    ratio, and below what has diverged: at an S and all smaller
    ones, η is held below the geometric middle between it and the largest that did not.

    ``others``: combinations of the other scalars, each with an intercept of its own. Every cell is
    worth what the scatter at its S leaves of it, as estimated from the residuals so far.
    Deterministic: what is asked follows from the options and from what was told.
    """

    def __init__(self, low: float, high: float, sizes: Sequence[int], *, metric: str,
                 exponent: str = "sum", others: Sequence[Scalars] = ({},),
                 inside: Callable[[Scalars], bool] = lambda _: True):
        self.metric, self.exponent = metric, exponent
        self._others = [dict(o) for o in others]
        self._cells = [
            Point({"lr": lr, "batch_size": size, **other}) for other in self._others
            for size in sorted(sizes) for lr in _learning_rates(low, high, sizes, size)]
        self._cells = [c for c in self._cells if inside(c.values)]
        self._values: dict[Point, float] = {}
        self._stable: dict[Point, None] = {}
        self._diverged: dict[Point, None] = {}
        self._failed: dict[Point, None] = {}
        self._pending: dict[Point, None] = {}
        self._packs = 0

    def ask(self, width: int) -> list[Point]:
        """Up to ``width`` new cells of one S and one combination of the other scalars."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        for cell in self._candidates():
            groups.setdefault(_group(cell), []).append(cell)
        if not groups:
            return []
        best = min((self._fill(cells, width) for cells in self._preferred(groups)),
                   key=lambda found: found[0])[1]
        self._packs += 1
        self._pending |= dict.fromkeys(best)
        return best

    def adopt(self, points: Sequence[Point]) -> None:
        """Takes over an ask of an earlier session, as if it had just been given."""
        self._packs += 1 if points else 0
        self._pending |= dict.fromkeys(points)

    def tell(self, point: Point, outcome: Outcome) -> None:
        """What became of a cell: the metric's value, or that most of its seeds diverged."""
        self._pending.pop(point, None)
        names = {"lr", "batch_size", *self._others[0]}
        if not names <= point.values.keys() or self._other(point) is None:
            return
        value = outcome.values.get(self.metric, math.nan)
        if outcome.diverged >= 0.5:
            self._diverged[point] = None
        elif outcome.status == "failed":
            self._failed[point] = None
        else:
            self._stable[point] = None
            scaled = _scaled(self.metric, value)
            if math.isfinite(scaled):
                self._values[point] = scaled

    @property
    def told(self) -> tuple[str, ...]:
        """The exponents as fitted to what was told, as lines of a terminal; none before they can be
        told."""
        error = self.deviation
        if math.isnan(error):
            return ()
        rows, y = self._told()
        weights = 1 / np.sqrt(self._scatter(list(self._values)))
        last = np.linalg.lstsq(rows * weights[:, None], y * weights, rcond=None)[0][-2:]
        law = (f"logit {self.metric} = c + a·log η + b·log S" if is_rate(self.metric)
               else f"{self.metric} ∝ η^a·S^b")
        if self.exponent == "both":
            return (f"a = {last[0]:.3g}, b = {last[1]:.3g} in {law}, standard error {error:.2g} "
                    "(root of the mean variance)",)
        name = "a + b" if self.exponent == "sum" else self.exponent
        value = float(np.array(_COMBINATIONS[self.exponent]) @ last)
        return (f"{name} = {value:.3g} in {law}, standard error {error:.2g}",)

    @property
    def deviation(self) -> float:
        """Standard error of the exponent (of ``both``: the root of the mean variance), in the law
        fitted to what was told; NaN where it is not told yet."""
        rows, y = self._told()
        if len(y) <= rows.shape[1] or np.linalg.matrix_rank(rows) < rows.shape[1]:
            return math.nan
        covariance = np.linalg.inv((rows.T / self._scatter(list(self._values))) @ rows)
        if self.exponent == "both":
            return math.sqrt(float(np.trace(covariance[-2:, -2:])) / 2)
        c = np.array(_COMBINATIONS[self.exponent])
        return math.sqrt(float(c @ covariance[-2:, -2:] @ c))

    def _preferred(self, groups: Mapping[tuple[Any, ...], list[Point]]) -> list[list[Point]]:
        """The groups that may be next."""
        seen = [_group(c) for c in (*self._values, *self._pending, *self._diverged)]
        sizes = sorted({group[0] for group in groups})
        fewest = min(groups, key=lambda g: (seen.count(g), abs(math.log(g[0] / _middle(sizes)))))
        first = (sizes[-1], sizes[0])
        if self._packs < len(first):
            return [cells for group, cells in groups.items() if group[0] == first[self._packs]]
        return [groups[fewest]] if self._packs % _CHECK == _CHECK - 1 else list(groups.values())

    def _candidates(self) -> list[Point]:
        known = {*self._values, *self._stable, *self._pending, *self._diverged, *self._failed}
        return [c for c in self._cells if c not in known and c.values["lr"] < self._limit(c)]

    def _limit(self, cell: Point) -> float:
        """Where η is held below: half way, in log, from the largest stable to the smallest that
        diverged at this S or a larger one."""
        size, other = cell.values["batch_size"], self._other(cell)
        gone = [p.values["lr"] for p in self._diverged
                if p.values["batch_size"] >= size and self._other(p) == other]
        if not gone:
            return math.inf
        kept = [p.values["lr"] for p in self._stable if p.values["lr"] < min(gone)
                and p.values["batch_size"] <= size and self._other(p) == other]
        return math.sqrt(max(kept) * min(gone)) if kept else min(gone)

    def _fill(self, cells: Sequence[Point], width: int) -> tuple[float, list[Point]]:
        """The variance that up to ``width`` of ``cells`` lead to, one after the other; per run."""
        held = [*self._values, *self._pending]
        every = [*held, *cells]
        scatter, columns = self._scatter(every), self._rows(every)
        prior = np.full(columns.shape[1], _VAGUE)
        if self.exponent == "sum":
            ratios = np.unique([_ratio(c) for c in every], return_inverse=True)[1]
            columns = np.hstack([np.eye(ratios.max() + 1)[ratios], columns])
            off = np.full(ratios.max() + 1, 1 / (_BEND**2 * scatter.mean()))
            prior = np.concatenate([off, prior])
        first = columns[: len(held)]
        covariance = np.linalg.inv(np.diag(prior) + (first.T / scatter[: len(held)]) @ first)
        before, chosen, left = self._variance(covariance), [], list(range(len(held), len(every)))
        while left and len(chosen) < width:
            updates = [_with(covariance, columns[i], scatter[i]) for i in left]
            best = int(np.argmin([self._variance(u) for u in updates]))
            covariance = updates[best]
            chosen.append(every[left.pop(best)])
        return (self._variance(covariance) - before) / len(chosen), chosen

    def _variance(self, covariance: np.ndarray) -> float:
        """The logarithm of what is to become small."""
        last = covariance[-2:, -2:]
        if self.exponent == "both":
            return float(np.linalg.slogdet(last)[1]) / 2
        c = np.array(_COMBINATIONS[self.exponent])
        return math.log(max(float(c @ last @ c), 1e-30))  # rounding, where nothing scatters

    def _scatter(self, cells: Sequence[Point]) -> np.ndarray:
        """(cells,): the variance of a cell about the law, by S, drawn towards the whole's."""
        rows, y = self._told()
        spare = len(y) - rows.shape[1]
        if spare < 1:
            return np.ones(len(cells))
        square = (y - rows @ np.linalg.lstsq(rows, y, rcond=None)[0]) ** 2 * len(y) / spare
        sizes = np.array([c.values["batch_size"] for c in self._values])
        whole = max(float(square.mean()), 1e-12)
        at = [sizes == c.values["batch_size"] for c in cells]
        return np.array([(_PRIOR_CELLS * whole + square[s].sum()) / (_PRIOR_CELLS + s.sum())
                         for s in at])

    def _told(self) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(list(self._values)), np.array(list(self._values.values()))

    def _rows(self, cells: Sequence[Point]) -> np.ndarray:
        """(cells, p): intercepts, then log η and log S about the middle of the space."""
        own = np.zeros((len(cells), len(self._others)))
        logs = np.zeros((len(cells), 2))
        middle = np.mean([_logs(c) for c in self._cells], axis=0)
        for i, cell in enumerate(cells):
            own[i, self._other(cell)] = 1.0
            logs[i] = _logs(cell) - middle
        return np.hstack([own, logs])

    def _other(self, cell: Point) -> int | None:
        matches = (i for i, o in enumerate(self._others)
                   if all(cell.values.get(k) == v for k, v in o.items()))
        return next(matches, None)


def build(setup: Setup) -> Law:
    """The design over the range of ``lr`` and the lists of the other scalars of the space."""
    space, search = setup.search.space, setup.search
    sizes = [s for s in space["batch_size"].values if isinstance(s, int)]
    choices = {n: d.values for n, d in space.items()
               if not isinstance(d, Range) and n != "batch_size"}
    others = [dict(zip(choices, v, strict=True)) for v in product(*choices.values())]
    return Law(space["lr"].low, space["lr"].high, sizes, metric=next(iter(search.objectives)),
               exponent=search.options["exponent"], others=others, inside=setup.inside)


def _learning_rates(low: float, high: float, sizes: Sequence[int], size: int) -> list[float]:
    """Those of a ladder of ratios, common to all S, that lie in the range at this S."""
    step = (high / low) ** (1 / _STEPS)
    first = low / max(sizes)
    rungs = math.ceil(math.log(max(sizes) / min(sizes)) / math.log(step)) + _STEPS + 1
    rates = (float(f"{first * step**i * size:.12g}") for i in range(rungs + 1))
    return [r for r in rates if low * (1 - 1e-9) <= r <= high * (1 + 1e-9)]


def _with(covariance: np.ndarray, row: np.ndarray, scatter: float) -> np.ndarray:
    """The coefficients' covariance with one more cell (Sherman & Morrison 1950)."""
    along = covariance @ row
    return covariance - np.outer(along, along) / (scatter + float(row @ along))


def _ratio(cell: Point) -> float:
    return float(f"{cell.values['lr'] / cell.values['batch_size']:.9g}")


def _group(cell: Point) -> tuple[Any, ...]:
    rest = (repr(v) for k, v in sorted(cell.values.items()) if k not in ("lr", "batch_size"))
    return cell.values["batch_size"], *rest


def _middle(sizes: Sequence[int]) -> int:
    """The S nearest to the geometric middle."""
    middle = math.sqrt(sizes[0] * sizes[-1])
    return min(sizes, key=lambda s: abs(math.log(s / middle)))


def _logs(cell: Point) -> np.ndarray:
    return np.log([cell.values["lr"], cell.values["batch_size"]])


def _scaled(metric: str, value: float) -> float:
    """On the scale of the laws: a logit of shares, else the logarithm."""
    if is_rate(metric):
        kept = min(max(value, 1e-3), 1 - 1e-3)
        return math.log(kept / (1 - kept))
    return math.log(value) if value > 0 else math.nan
