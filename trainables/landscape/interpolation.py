"""The loss on the straight line through two runs' weights, and how wide its two minima are.

Jastrzebski et al. 2017, section 5 (α from −1 to 2); barriers: Fort & Jastrzebski 2019.
"""

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.crossing import first_crossing
from trainables.landscape.surface import Surface, curve

BISECTIONS = 10


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """L((1−α) a + α b) and accuracies, barriers and half-widths. (points + 40) evaluations.

    Widths in α scale with 1/‖b − a‖ and with the weights' norms, which come along: a homogeneous
    net can be rescaled to any width (Dinh et al. 2017). Of runs with different noise the training
    loss is the first run's.
    """
    surface = Surface(subject)
    ends = torch.stack([surface.point(w) for w in subject.weights])
    alpha = grid(options["low"], options["high"], options["points"])

    def line(a: Tensor) -> Tensor:
        a = a.to(ends)[:, None]
        return (1 - a) * ends[0] + a * ends[1]

    heights = surface.heights(line(alpha))
    found = []
    for name, loss, accuracy in (("train", heights.train_loss, heights.train_accuracy),
                                 ("test", heights.test_loss, heights.test_accuracy)):
        where, height = barrier(alpha, loss)
        found += [("interpolation_loss", curve(alpha, loss, name)),
                  ("interpolation_accuracy", curve(alpha, accuracy, name)),
                  ("interpolation_barrier", curve([where], [height], name))]
    rise = options["rise"]
    for name, width in half_widths(
            lambda a: surface.losses(line(a)), alpha, heights.train_loss, rise).items():
        found.append(("interpolation_half_width", curve([rise], [width], name)))
    norms = ends.double().norm(dim=1)
    return [*found, ("interpolation_norm", curve([0, 1], norms)),
            ("interpolation_distance", curve([1], (ends[1] - ends[0]).double().norm()))]


def grid(low: float, high: float, points: int) -> Tensor:
    """(n,) float64: evenly spaced from low to high, with 0 and 1 exactly (so n may be larger)."""
    x = torch.linspace(low, high, points, dtype=torch.float64)
    for end in (0.0, 1.0):
        x = torch.where((x - end).abs() < 1e-9, end, x)
        if not (x == end).any():
            x = torch.cat([x, torch.tensor([end], dtype=torch.float64)])
    return x.sort().values


def barrier(alpha: Tensor, loss: Tensor) -> tuple[float, float]:
    """Where in [0, 1] the loss is largest, and by how much it exceeds the larger end's (≥ 0)."""
    inside = (alpha >= 0) & (alpha <= 1)
    x, y = alpha[inside], loss[inside]
    top = int(y.argmax())
    return float(x[top]), float(y[top] - torch.maximum(y[0], y[-1]))


def half_widths(at, alpha: Tensor, loss: Tensor, rise: float) -> dict[str, float]:
    """|Δα| from each end, outwards and inwards (up to the other end), at which L = L(end) + rise.

    Where it is not reached on the line, the name ends in ``_at_least`` and the value is what was
    looked at. ``at``: (1,) α to (1,) losses; alpha (n,) ascending, with 0 and 1; loss (n,).
    """
    found = {}
    for name, end, part in (
            ("first_out", 0.0, (alpha <= 0).nonzero().flatten().flip(0)),
            ("first_in", 0.0, ((alpha >= 0) & (alpha <= 1)).nonzero().flatten()),
            ("second_in", 1.0, ((alpha >= 0) & (alpha <= 1)).nonzero().flatten().flip(0)),
            ("second_out", 1.0, (alpha >= 1).nonzero().flatten())):
        x, y = alpha[part], loss[part][None]
        width = float((first_crossing(at, x, y, y[:, 0] + rise, BISECTIONS) - end).abs())
        if width == float("inf"):
            found[f"{name}_at_least"] = float((x[-1] - end).abs())
        else:
            found[name] = width
    return found
