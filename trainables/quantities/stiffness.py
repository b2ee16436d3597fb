"""Stiffness: how a step on one example changes the loss of another (Fort et al. 2019, 1901.09491).

Mathematics of one run, float64. A step of size ε on example i changes the loss of j by
−ε ⟨g_i, g_j⟩ + O(ε²); stiffness is the sign of that product, or its cosine.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LEVEL = 0.95  # of the bootstrap interval


def cosines(gram: Tensor, floor: float) -> Tensor:
    """(m, m) cosines of a Gram matrix; NaN for gradients that are not finite or ≤ ``floor`` long.

    Below ``floor`` a gradient is mostly the rounding of a fitted example's residual.
    """
    length = gram.diagonal().sqrt()
    length = torch.where((length > floor) & length.isfinite(), length, torch.nan)
    return (gram / length[:, None] / length).clamp(-1, 1)


def class_means(values: Tensor, rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    """(C, C) means of ``values`` (a, b) by class of the row (a,) and of the column (b,).

    NaN among the values is left out; NaN is the mean of an empty cell.
    """
    known = ~values.isnan()
    one, other = (torch.nn.functional.one_hot(c, classes).to(values) for c in (rows, columns))
    total = one.T @ torch.where(known, values, 0.0) @ other
    return total / (one.T @ known.to(values) @ other)


def within_between(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the diagonal, and of the rest, of class means (C, C): classes count alike.

    Cells without pairs are left out; NaN where none is left.
    """
    same = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    return matrix[same].nanmean(), matrix[~same].nanmean()


def distances(x: Tensor, centre: str = "feature") -> Tensor:
    """(m, m) distances 1 − cos(x_i, x_j), in [0, 2], of inputs of zero mean and unit variance.

    The mean over the m inputs is that of each pixel (``feature``: 1 is the distance of unrelated
    inputs) or of each channel (``channel``: what all images share, such as a dark border, makes
    them near). The variance is per channel of images (m, C, …), per feature of tables (m, D). NaN
    for an input that is the mean itself.
    """
    x = x.double()
    over = (0, *range(2, x.dim()))
    x = x - x.mean(0 if centre == "feature" else over, keepdim=True)
    spread = x.square().mean(over, keepdim=True).sqrt()
    x = (x / torch.where(spread > 0, spread, 1.0)).flatten(1)
    x = x / x.norm(dim=1, keepdim=True)
    return (1 - x @ x.T).clamp(0, 2)


def binned(distance: Tensor, values: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """(bins,) mean distance and mean value of the pairs in each bin; NaN for empty bins.

    ``edges`` (bins + 1,); the last bin includes its upper edge. Pairs with a NaN are left out.
    Summed on the CPU, in the order of the pairs: on a GPU the order varies, and so the last bits.
    """
    known = ~(distance.isnan() | values.isnan())
    d, v = distance[known].cpu(), values[known].cpu()
    place = (torch.bucketize(d, edges.cpu(), right=True) - 1).clamp(0, len(edges) - 2)
    zeros = torch.zeros(len(edges) - 1, dtype=torch.float64)
    count = zeros.index_add(0, place, torch.ones_like(d))
    means = (zeros.index_add(0, place, t) / count for t in (d, v))
    return tuple(m.to(distance.device) for m in means)


@dataclass(frozen=True)
class Decay:
    """A line s = a + b·d through pairs of stiffness s and distance d, and where it meets zero."""

    slope: float  # b; NaN where the distances do not differ
    length: float  # ξ = −a/b; inf where b ≥ 0: not reached; NaN where b is
    low: float  # bootstrap interval of ξ; inf as above
    high: float
    nearest: float  # the range of distances observed
    farthest: float


def decay(distance: Tensor, values: Tensor, rows: Tensor, columns: Tensor) -> Decay:
    """Least squares over the pairs (a, b) whose value and distance are not NaN.

    ``rows`` (B, a) and ``columns`` (B, b) say how often each example occurs in each of B bootstrap
    samples. Examples are resampled, not pairs: pairs that share an example are not independent. A
    pair weighs the product of its examples' counts; copies of one example make no pair. The
    interval holds the central 95 % of the ξ*, where a sample without a falling line counts as ∞.
    """
    known = ~(distance.isnan() | values.isnan())
    d, v = torch.where(known, distance, 0.0), torch.where(known, values, 0.0)
    moments = [known.to(d), d, v, d * d, d * v]
    slope, length = _crossing([t.sum() for t in moments])
    if not known.any():
        return Decay(*(float("nan"),) * 6)
    _, drawn = _crossing([((rows @ t) * columns).sum(1) for t in moments])
    drawn = torch.where(drawn.isnan(), torch.inf, drawn).sort().values
    tail = int((1 - LEVEL) / 2 * len(drawn))
    observed = distance[known]
    return Decay(slope.item(), length.item(), drawn[tail].item(),
                 drawn[len(drawn) - 1 - tail].item(), observed.min().item(), observed.max().item())


def _crossing(moments: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Slope and zero of weighted lines, from the sums of 1, d, s, d², d·s."""
    n, d, s, dd, ds = moments
    spread = n * dd - d * d
    slope = torch.where(spread > 1e-12 * n * dd, (n * ds - d * s) / spread, torch.nan)
    zero = -(s - slope * d) / n / slope
    return slope, torch.where(slope >= 0, torch.inf, zero)
