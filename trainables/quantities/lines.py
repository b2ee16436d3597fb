"""The loss along straight lines from where a run stands."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.costs import GE_FORWARD
from trainables.linalg.products import unflatten

if TYPE_CHECKING:
    from trainables.probe import Probe

AT_ONCE = 2048  # examples of a run evaluated at once


@torch.no_grad()
def losses_at(probe: "Probe", shifts: Iterable[Tensor], index: Tensor) -> Tensor:
    """(R, K) mean losses at θ + shift for K shifts (R, P), over the training examples ``index``.

    Losses in the pack's precision, their mean in float64: differences of columns are those of the
    same examples. |index|/3n GE each, counted here.
    """
    columns = []
    for shift in shifts:
        params = unflatten(probe.flat + shift.to(probe.flat), probe.params)
        total = sum(probe.losses_of(params, part).double().sum(1) for part in index.split(AT_ONCE))
        columns.append(total / len(index))
        probe.spend(GE_FORWARD * len(index) / probe.size)
    return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class Interpolant:
    """One polynomial a run through its function's values at the Chebyshev points of an interval."""

    middle: Tensor  # (R,)
    half: Tensor  # (R,) half the interval's length; may be 0
    coefficients: Tensor  # (R, K) of the Chebyshev polynomials T_0 … T_{K−1}

    @classmethod
    def through(cls, low: Tensor, high: Tensor, values: Tensor) -> "Interpolant":
        """Of the (R, K) values at ``points(low, high, K)``."""
        count = values.shape[1]
        basis = torch.cos(_angles(count).to(values)[:, None] * torch.arange(count).to(values))
        coefficients = values @ basis * (2 / count)
        coefficients[:, 0] /= 2
        return cls((low + high) / 2, (high - low) / 2, coefficients)

    def __call__(self, places: Tensor) -> Tensor:
        """(R, n) values at (R, n) places in the interval."""
        half = self.half[:, None]
        t = torch.where(half == 0, 0.0, (places - self.middle[:, None]) / half).clamp(-1, 1)
        degrees = torch.arange(self.coefficients.shape[1]).to(t)
        terms = torch.cos(torch.arccos(t)[:, :, None] * degrees)
        return (terms * self.coefficients[:, None]).sum(2)

    @property
    def tail(self) -> Tensor:
        """(R,) what the last third of the coefficients adds up to: about the error.

        Far above it for an analytic function (the coefficients fall geometrically), about equal
        to it for one with kinks (they fall algebraically).
        """
        count = self.coefficients.shape[1]
        return self.coefficients[:, -(-2 * count // 3):].abs().sum(1)


def points(low: Tensor, high: Tensor, count: int) -> Tensor:
    """(R, count) Chebyshev points of the intervals, first kind."""
    t = torch.cos(_angles(count).to(low))
    return ((low + high) / 2)[:, None] + ((high - low) / 2)[:, None] * t


def changes_along(probe: "Probe", direction: Tensor, places: Tensor, nodes: int
                  ) -> tuple[Tensor, Tensor]:
    """L(θ + c e) − L(θ) on the measurement set at (R, n) places c along e (R, P); its error.

    However many places: L is evaluated at ``nodes`` Chebyshev points of the interval that spans
    the places and 0, and p(c) − p(0) taken from the polynomial p of degree nodes − 1 through
    them, float64. Exact for a loss that is such a polynomial along the line; else biased by the
    interpolation error, of which twice the coefficients' tail (R,) is an estimate. nodes/3 GE.
    """
    low, high = places.amin(1).clamp_max(0), places.amax(1).clamp_min(0)
    shifts = (c[:, None] * direction for c in points(low, high, nodes).unbind(1))
    line = Interpolant.through(low, high, losses_at(probe, shifts, probe.pack.measure_set))
    return line(places) - line(torch.zeros_like(places[:, :1])), 2 * line.tail


def _angles(count: int) -> Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) * torch.pi / count
