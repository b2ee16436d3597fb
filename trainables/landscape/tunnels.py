"""How far one can walk from a minimum in random directions: the tunnel of Fort & Jastrzebski 2019.

Angular: θ(φ) = R (cos φ θ/R + sin φ u) with R = ‖θ‖ and a unit u ⊥ θ, which no rescaling of all
weights widens. Straight: θ + δ R u. u is a Gaussian direction, plain or normalised filter by
filter (Li et al. 2018).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables import streams
from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.crossing import first_crossing
from trainables.landscape.surface import Surface, curve

QUARTILES = {"lower": 0.25, "median": 0.5, "upper": 0.75}


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Training loss along the directions, and the widths: 4 directions (points + bisections)/3 GE.

    The threshold is ``threshold``, or half-way between the loss here and at step 0 where it is
    null. Where the loss here is above it, all widths are 0; where it is not finite, there are none.
    """
    surface = Surface(subject)
    theta = surface.point(subject.weights[0])
    norm = theta.double().norm()
    here, start = surface.losses(torch.stack([theta, surface.initial])).tolist()
    level = (here + start) / 2 if options["threshold"] is None else options["threshold"]
    if not math.isfinite(here):
        level = math.nan
    drawn = streams.normal(
        [subject.seed], "tunnels", 0, (options["directions"], surface.dim), theta)[0]
    shapes = [p.shape[1:] for p in surface.pack.initial.values()]
    found = [("tunnel_threshold", curve([norm], [level]))]
    for kind, raw in (("plain", drawn), ("filter", filter_normalised(drawn, theta, shapes))):
        unit = orthogonal(raw, theta)
        for way, path, end in (("angular", angular, options["angle"]),
                               ("straight", straight, options["reach"])):
            x = torch.linspace(0, end, options["points"], dtype=torch.float64)
            found += _tunnel(surface.losses, lambda a, path=path, unit=unit: path(theta, unit, a),
                             x, (len(unit), level, options["bisections"]), f"{way}_{kind}")
    return found


def _tunnel(losses: Callable, path: Callable, x: Tensor, wanted: tuple[int, float, int],
            series: str) -> list[tuple[str, Curve]]:
    count, level, bisections = wanted
    values = torch.stack([losses(path(a.expand(count))) for a in x], dim=1)
    widths = first_crossing(lambda a: losses(path(a)), x, values,
                            torch.full((count,), level, dtype=torch.float64), bisections)
    open_ = torch.where(widths.isnan(), torch.nan, widths.isinf().double()).mean()
    known = lambda t: torch.where(t.isfinite(), t, torch.nan)  # noqa: E731
    quartiles = torch.stack([quantile(widths, q) for q in QUARTILES.values()])
    found = [("tunnel_loss", curve(x, known(quantile(values, q)), f"{series}_{name}"))
             for name, q in QUARTILES.items()]
    return [*found,
            ("tunnel_width", curve(QUARTILES.values(), known(quartiles), series)),
            ("tunnel_widths", curve(torch.arange(count), known(widths), series)),
            ("tunnel_open", curve([x[-1]], [open_], series))]


def quantile(values: Tensor, q: float) -> Tensor:
    """The quantile over the first dimension, linear between order statistics; NaN counts as inf,
    and it is inf where the order statistic above is."""
    ordered = values.nan_to_num(torch.inf, torch.inf).sort(dim=0).values
    place = q * (len(values) - 1)
    low, high = ordered[int(place)], ordered[math.ceil(place)]
    return torch.where(high.isinf(), high, low + (high - low) * (place - int(place)))


def filter_normalised(directions: Tensor, theta: Tensor, shapes: Sequence[torch.Size]) -> Tensor:
    """(K, P) directions with each filter (first dimension of a weight) scaled to θ's filter's norm.

    Zero in biases and norms' weights (at most one dimension), as Li et al. do.
    """
    sizes = [s.numel() for s in shapes]
    parts = []
    for d, t, shape in zip(directions.split(sizes, dim=1), theta.split(sizes), shapes, strict=True):
        if len(shape) < 2:
            parts.append(torch.zeros_like(d))
            continue
        d, t = d.reshape(len(d), shape[0], -1), t.reshape(shape[0], -1)
        scaled = d / d.norm(dim=2, keepdim=True) * t.norm(dim=1, keepdim=True)
        parts.append(scaled.reshape(len(d), -1))
    return torch.cat(parts, dim=1)


def orthogonal(directions: Tensor, theta: Tensor) -> Tensor:
    """(K, P) unit vectors: the directions without their part along θ (taken out twice)."""
    axis = theta / theta.norm()
    for _ in range(2):
        directions = directions - (directions @ axis)[:, None] * axis
        directions = directions / directions.norm(dim=1, keepdim=True)
    return directions


def angular(theta: Tensor, unit: Tensor, angle: Tensor) -> Tensor:
    """(K, P): θ turned by the angles (K,) towards the unit vectors; the norm stays."""
    angle = angle.to(unit)[:, None]
    return angle.cos() * theta + angle.sin() * theta.norm() * unit


def straight(theta: Tensor, unit: Tensor, distance: Tensor) -> Tensor:
    """(K, P): θ plus the distances (K,), in units of ‖θ‖, along the unit vectors."""
    return theta + distance.to(unit)[:, None] * theta.norm() * unit
