"""Quantiles of Student's t distribution."""

import math
from functools import cache


def coverage(t: float, dof: int) -> float:
    """P(|T| ≤ t) for whole degrees of freedom: Abramowitz & Stegun 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(dof))
    cos2, odd = math.cos(angle) ** 2, dof % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for j in range(1 + odd, dof, 2):
        total += term
        term *= cos2 * j / (j + 1)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


@cache
def t_quantile(dof: int, covered: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = ``covered``, to 1e-12, by bisection of its angle."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        inside = coverage(math.sqrt(dof) * math.tan(middle), dof) < covered
        low, high = (middle, high) if inside else (low, middle)
    return math.sqrt(dof) * math.tan((low + high) / 2)
