"""How the best η grows with S: log η = c + e·log S over the batch sizes of a grid.

Random effects: an optimum is known but for its noise, whose covariance over the batch sizes the
draws of the optima tell, and lies off the law by a deviation τ (moments, as in DerSimonian & Laird
1986). A new batch size lies off the law too: its interval of prediction takes the residual scatter
for τ, which is careful. e = 1 is linear scaling (η/S constant), ½ the root, 0 none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.crossed import UNKNOWN, Interval
from analysis.optimum import Optimum

LEAST = 3
LAWS = {"linear in S (η/S constant)": 1.0, "√S": 0.5, "constant": 0.0}


@dataclass(frozen=True, eq=False)
class Scaling:
    """``exponent``: e. ``sizes``: the batch sizes it rests on. ``scatter``: residual
    deviation of the optima from the law, in log η: of their noise and of τ."""

    exponent: Interval
    sizes: tuple[int, ...]
    scatter: float
    _centre: float
    _beta: np.ndarray
    _covariance: np.ndarray

    def predict(self, batch_size: float) -> Interval:
        """η at a batch size, with its 95 % interval of prediction."""
        row = np.array([1.0, math.log(batch_size) - self._centre])
        mean = float(row @ self._beta)
        half = self._half(row, self.scatter**2)
        return Interval(*(math.exp(v) for v in (mean, mean - half, mean + half)))

    def inside(self, batch_size: float) -> bool:
        """Whether it lies between the batch sizes that the law rests on."""
        return self.sizes[0] <= batch_size <= self.sizes[-1]

    def compatible(self) -> tuple[str, ...]:
        """The laws whose exponent lies in the interval."""
        return tuple(name for name, e in LAWS.items() if self.exponent.holds(e))

    def _half(self, row: np.ndarray, more: float) -> float:
        from scipy.special import stdtrit

        variance = float(row @ self._covariance @ row) + more
        return float(stdtrit(max(len(self.sizes) - 2, 2), 0.975) * math.sqrt(variance))


def scaling(optima: Sequence[Optimum]) -> Scaling | None:
    """The law over ``optima``, in order of S; None below three. Student's t with n − 2 degrees of
    freedom, at least 2. Cost: O(n³), and the optima's covariance over their draws."""
    if len(optima) < LEAST:
        return None
    x, y = (np.log([f(o) for o in optima]) for f in (lambda o: o.batch_size, lambda o: o.lr.value))
    noise = np.cov(np.stack([o.draws for o in optima])) + 1e-8 * np.eye(len(x))
    design = np.column_stack([np.ones_like(x), x - x.mean()])
    off = _between(design, y, noise)
    variance = noise + off * np.eye(len(x))
    inverse = _inverse(design, np.diag(variance))
    beta = inverse @ y
    scatter = math.sqrt(float(((y - design @ beta) ** 2).sum()) / (len(x) - 2))
    found = Scaling(UNKNOWN, tuple(o.batch_size for o in optima), scatter, float(x.mean()),
                    beta, inverse @ variance @ inverse.T)
    half, e = found._half(np.array([0.0, 1.0]), 0.0), float(beta[1])
    return replace(found, exponent=Interval(e, e - half, e + half))


def _inverse(design: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The matrix that makes coefficients of y: least squares weighted by 1 / ``variance``."""
    return np.linalg.solve((design.T / variance) @ design, design.T / variance)


def _between(design: np.ndarray, y: np.ndarray, noise: np.ndarray) -> float:
    """τ² by moments: what the weighted squares of the residuals exceed their expectation by."""
    weight = 1 / np.diag(noise)
    rest = np.eye(len(y)) - design @ _inverse(design, 1 / weight)
    made = (rest.T * weight) @ rest
    return max(0.0, float(y @ made @ y - np.trace(made @ noise)) / float(np.trace(made)))
