"""Where the loss along a line first rises above a level."""

from collections.abc import Callable

import torch
from torch import Tensor


def first_crossing(at: Callable[[Tensor], Tensor], grid: Tensor, values: Tensor, level: Tensor,
                   bisections: int) -> Tensor:
    """(K,) smallest x at which each of K lines is above its level; inf where on no grid point.

    ``grid`` (n,), from the start of the line outwards (descending too); ``values`` (K, n) there;
    ``level`` (K,); ``at`` maps (K,) positions to (K,) values. The first interval of the grid whose
    end is above is bisected, then the secant is taken: exact to the interval's width / 2^bisections
    and, where the line is smooth, to its square. A rise and fall between two grid points is
    missed: the result is never too small. A NaN value counts as above. K evaluations a bisection.
    """
    above = ~(values <= level[:, None])
    i = above.int().argmax(1)
    lines = torch.arange(len(values))
    low, high = grid[(i - 1).clamp_min(0)], grid[i]
    below, beyond = values[lines, (i - 1).clamp_min(0)], values[lines, i]
    for _ in range(bisections):
        middle = (low + high) / 2
        value = at(middle)
        up = ~(value <= level)
        low, high = torch.where(up, low, middle), torch.where(up, middle, high)
        below, beyond = torch.where(up, below, value), torch.where(up, value, beyond)
    secant = low + (high - low) * ((level - below) / (beyond - below)).clamp(0, 1)
    secant = torch.where(beyond.isfinite() & (beyond > below), secant, high)
    found = torch.where(above.any(1), torch.where(i == 0, grid[0], secant), torch.inf)
    return torch.where(level.isnan(), torch.nan, found)
