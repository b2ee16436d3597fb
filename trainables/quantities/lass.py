"""Critical samples: inputs with another prediction nearby (Arpit et al. 2017, section 4)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Step and noise, in units of the box: the paper's 0.25, 0.2 and 0.3 of 255 grey levels.
STEP, NOISE = 0.25 / 0.3, 0.2 / 0.3
PATIENCE = 5  # sweeps without a new critical sample, then the search ends by default


@dataclass(frozen=True)
class Box:
    """Where one looks around an input x: all broadcast against x (R, m, …)."""

    radius: Tensor  # per coordinate, so that coordinates of other units are searched alike
    low: Tensor     # the range of the data: what no image holds is not looked at
    high: Tensor


def data_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value per channel of images (N, C, …), per feature of tables (N, D).

    Shaped as one example. A fraction of the range is the same fraction before and after any
    normalisation by channel or feature, so that of 8-bit images whose darkest and brightest pixel
    are 0 and 255 it counts in units of 255.
    """
    over = (0, *range(2, x.dim()))
    return x.amin(over, keepdim=True)[0], x.amax(over, keepdim=True)[0]


@dataclass(frozen=True)
class Critical:
    """What a search found, and its length."""

    found: Tensor   # (R, m) bool: a different prediction was met
    sweeps: Tensor  # (R,) int64 steps taken by each run's search
    finite: Tensor  # (R,) bool: all outputs at x are finite; where not, nothing is known


def critical_samples(outputs: Callable[[Tensor], Tensor], x: Tensor, box: Box,
                     noise: Callable[[int], Tensor], *, sweeps: int, chunk: int,
                     patience: int = PATIENCE) -> Critical:
    """Langevin adversarial sample search (LASS) from x (R, m, …), all runs and inputs at once.

    k is the class predicted at x, fixed. x̃ ← x; then up to ``sweeps`` times
    x̃ ← clip(x̃ + α·sign ∇_x̃ CE(f(x̃), k) + β·ξ), α = 0.83 r, β = 0.67 r, ξ = ``noise``(sweep)
    standard normal per coordinate, clipped to |x̃ − x| ≤ r and to the data's range (which never
    pulls beyond x an x that lies outside). x is critical if any x̃ is predicted other than k; a
    run's search ends after ``patience`` sweeps without a new critical sample, or with none left to
    find, whatever other runs do.
    Follows the author's code (ascent of the cross-entropy at x̃), not the paper's algorithm as
    printed. ``outputs`` maps (R, b, …) to (R, b, C) logits; b ≤ ``chunk``. It finds a subset of
    the critical samples: their share is biased low. Cost: one forward and one backward to the
    inputs a sweep, and one of each at x.
    """
    low, high = torch.minimum(box.low, x), torch.maximum(box.high, x)
    low, high = torch.maximum(low, x - box.radius), torch.minimum(high, x + box.radius)
    start, slope = _outputs_and_slope(outputs, x, None, chunk)
    predicted = start.argmax(-1)
    finite = start.isfinite().all(2).all(1)
    found = torch.zeros_like(predicted, dtype=torch.bool)
    searching, quiet = finite.clone(), torch.zeros_like(finite, dtype=torch.int64)
    taken, moved = torch.zeros_like(quiet), x
    for sweep in range(sweeps):
        step = STEP * slope.sign() + NOISE * noise(sweep)
        moved = torch.minimum(torch.maximum(moved + box.radius * step, low), high)
        out, slope = _outputs_and_slope(outputs, moved, predicted, chunk)
        new = (out.argmax(-1) != predicted) & ~found & searching[:, None]
        found, taken = found | new, taken + searching
        quiet = torch.where(new.any(1), 0, quiet + 1)
        searching = searching & (quiet < patience) & ~found.all(1)
        if not searching.any():
            break
    return Critical(found, taken, finite)


def _outputs_and_slope(outputs: Callable[[Tensor], Tensor], x: Tensor, k: Tensor | None,
                       chunk: int) -> tuple[Tensor, Tensor]:
    """Outputs at x, and the gradient to x of the cross-entropy with classes k (as predicted)."""
    parts = []
    for i in range(0, x.shape[1], chunk):
        leaf = x[:, i : i + chunk].detach().requires_grad_()
        with torch.enable_grad():
            out = outputs(leaf)
            classes = out.argmax(-1) if k is None else k[:, i : i + chunk]
            loss = F.cross_entropy(out.flatten(0, 1), classes.flatten(), reduction="sum")
            parts.append((out.detach(), torch.autograd.grad(loss, leaf)[0]))
    out, slope = (torch.cat(p, dim=1) for p in zip(*parts, strict=True))
    return out, slope
