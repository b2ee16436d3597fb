"""How a boundary of stability changes with S: what some batch sizes say of another.

log η* = c + b·log S + g(log S): c unknown, b between 0 (full batch) and 1 (noise alone decides),
g smooth. A Gaussian process with that prior, conditioned on what is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.search.threshold import Expected

_LEVEL, _SLOPE, _SLOPE_DEVIATION = 20.0, 0.5, 0.35
_BEND, _LENGTH, _ROUGH = 0.25, 2.0, 0.03  # in log η; length in log S


@dataclass(frozen=True)
class Known:
    """log η* at ``place`` = log S: mean and deviation."""

    place: float
    mean: float
    deviation: float


def expected(place: float, known: Sequence[Known]) -> Expected | None:
    """log η* at ``place``; None where nothing is known. Cost: O(n³), n as many as known."""
    if not known:
        return None
    at = np.array([k.place for k in known])
    error = np.diag([k.deviation**2 + _ROUGH**2 for k in known])
    lines = np.linalg.solve(_covariance(at, at) + error, _covariance(at, np.array([place])))[:, 0]
    level = float(np.mean([k.mean for k in known]))
    rest = np.array([k.mean for k in known]) - level - _SLOPE * at
    mean = level + _SLOPE * place + float(lines @ rest)
    here = np.array([place])
    variance = float(_covariance(here, here)[0, 0] - lines @ _covariance(at, here)[:, 0])
    return Expected(mean, (max(variance, 0.0) + _ROUGH**2) ** 0.5)


def _covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of c + b·s + g(s), less the mean slope."""
    apart = (a[:, None] - b[None]) / _LENGTH
    return (_LEVEL**2 + _SLOPE_DEVIATION**2 * a[:, None] * b[None]
            + _BEND**2 * np.exp(-0.5 * apart**2))
