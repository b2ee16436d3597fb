"""Low-loss paths between runs, and the surface between three: Fort & Jastrzebski 2019.

A path from a to b is a polyline whose bends are free in the hyperplanes orthogonal to b − a.
"""

from collections.abc import Callable, Iterable
from itertools import combinations

import torch
from torch import Tensor

from trainables import streams
from trainables.curves import Curve
from trainables.landscape import CENTRE_ORDER, Subject
from trainables.landscape.descent import Adam
from trainables.landscape.interpolation import barrier
from trainables.landscape.surface import Surface, batches, curve

NAMES = ("train", "test")


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Straight and bent paths of all pairs of runs and, from three runs on, their common centre.

    Bends minimise, with Adam, the mean loss at ``positions`` stratified random positions of the
    path on a fresh minibatch a step; BatchNorm uses the batch's statistics. Barriers are maxima
    over the ``points`` of a grid: never too large.
    """
    surface = Surface(subject)
    ends = torch.stack([surface.point(w) for w in subject.weights])
    pairs = list(combinations(range(len(ends)), 2))
    straight = torch.stack([line(ends[a], ends[b], options["bends"]) for a, b in pairs])
    bent = bend(straight, batches(surface, subject.seed, options["steps"], options["batch_size"]),
                surface.gradients, options, subject.seed)
    at = torch.linspace(0, 1, options["points"], dtype=torch.float64)
    weights = polyline(at, options["bends"] + 2).to(ends)
    found = []
    for (a, b), *paths in zip(pairs, straight, bent, strict=True):
        for kind, nodes in zip(("linear", "bent"), paths, strict=True):
            found += _path(surface, weights @ nodes, at, f"{kind}_{a}-{b}")
        off = (paths[1] - paths[0])[1:-1].double().norm(dim=1)
        length = (ends[b] - ends[a]).double().norm()
        found.append(("connector_bend", curve(range(1, len(off) + 1), off / length, f"{a}-{b}")))
    return found + (_centre(surface, bent, subject.seed, options) if len(ends) > 2 else [])


def _path(surface: Surface, points: Tensor, at: Tensor, series: str) -> list[tuple[str, Curve]]:
    heights, found = surface.heights(points), []
    for name in NAMES:
        loss = getattr(heights, f"{name}_loss")
        where, height = barrier(at, loss)
        found += [
            ("connector_loss", curve(at, loss, f"{series}_{name}")),
            ("connector_accuracy", curve(
                at, getattr(heights, f"{name}_accuracy"), f"{series}_{name}")),
            ("connector_barrier", curve([where], [height], f"{series}_{name}"))]
    return found


def line(a: Tensor, b: Tensor, bends: int) -> Tensor:
    """(bends + 2, P) evenly spaced nodes from a to b."""
    t = torch.linspace(0, 1, bends + 2, dtype=torch.float64).to(a)[:, None]
    return (1 - t) * a + t * b


def polyline(at: Tensor, nodes: int) -> Tensor:
    """(n, nodes) float64 weights of the nodes of a polyline at positions (n,) in [0, 1]."""
    place = at.double() * (nodes - 1)
    return (1 - (place[:, None] - torch.arange(nodes, dtype=torch.float64)).abs()).clamp_min(0)


def bend(straight: Tensor, index: Iterable[Tensor], gradients: Callable[[Tensor, Tensor], Tensor],
         options: dict, seed: int) -> Tensor:
    """(pairs, bends + 2, P) nodes after optimising the bends of ``straight``, one step an index.

    ``gradients``: (K, P) points and a minibatch to (K, P). positions GE·m/N a step and pair.
    """
    pairs, nodes, dim = straight.shape
    axis = straight[:, -1:] - straight[:, :1]
    axis = axis / axis.norm(dim=2, keepdim=True)
    offset = torch.zeros_like(straight[:, 1:-1])
    adam = Adam(offset, options["lr"])
    strata = torch.arange(options["positions"], dtype=torch.float64)
    for step, batch in enumerate(index):
        drawn = torch.rand(len(strata), dtype=torch.float64,
                           generator=streams.generator(seed, "connector", step))
        weights = polyline((strata + drawn) / len(strata), nodes).to(straight)
        points = weights @ torch.cat(
            [straight[:, :1], straight[:, 1:-1] + offset, straight[:, -1:]], dim=1)
        grads = gradients(points.reshape(-1, dim), batch).view(pairs, -1, dim)
        adam.step(weights[:, 1:-1].T @ grads / len(strata))
        offset -= (offset * axis).sum(2, keepdim=True) * axis
    return torch.cat([straight[:, :1], straight[:, 1:-1] + offset, straight[:, -1:]], dim=1)


def _centre(surface: Surface, bent: Tensor, seed: int, options: dict) -> list[tuple[str, Curve]]:
    """The centroid of all bends, moved in the complement of all nodes until the triangles are low.
    """
    dim = bent.shape[2]
    centre = bent[:, 1:-1].reshape(-1, dim).mean(0)
    sides = torch.stack([bent[:, :-1], bent[:, 1:]], dim=2).reshape(-1, 2, dim)
    moved = lower_centre(
        centre, sides, batches(surface, seed, options["steps"], options["batch_size"]),
        surface.gradients, options, seed)
    ends = surface.heights(torch.cat([bent[:, 0], bent[:, -1]]))
    losses, barriers = [], []
    for point in (centre, moved):
        here = surface.heights(torch.cat(
            [point[None], triangles(point, sides, barycentric(CENTRE_ORDER)).reshape(-1, dim)]))
        losses.append([here.train_loss[0], here.test_loss[0]])
        barriers.append([here.train_loss.max() - ends.train_loss.max(),
                         here.test_loss.max() - ends.test_loss.max()])
    return [(quantity, curve([0, 1], [row[i] for row in rows], name))
            for quantity, rows in (("connector_centre_loss", losses),
                                   ("connector_centre_barrier", barriers))
            for i, name in enumerate(NAMES)]


def lower_centre(centre: Tensor, sides: Tensor, index: Iterable[Tensor],
                 gradients: Callable[[Tensor, Tensor], Tensor], options: dict,
                 seed: int) -> Tensor:
    """(P,) the centre after optimising its part orthogonal to the affine span of the sides.

    ``sides`` (T, 2, P): each is a triangle with the centre. Minimised is the mean loss of
    ``positions`` uniform random points of random triangles; positions GE·m/N a step.
    """
    spread = (sides.reshape(-1, sides.shape[2]) - centre).double()
    if not spread.isfinite().all():
        return torch.full_like(centre, torch.nan)
    _, sizes, rows = torch.linalg.svd(spread, full_matrices=False)
    rows = rows[sizes > 1e-9 * sizes[0]].to(centre)
    offset = torch.zeros_like(centre)
    adam = Adam(offset, options["lr"])
    count = options["positions"]
    for step, batch in enumerate(index):
        source = streams.generator(seed, "connector_centre", step)
        chosen = torch.randint(len(sides), (count,), generator=source).to(sides.device)
        drawn = torch.rand(count, 2, dtype=torch.float64, generator=source).sort(dim=1).values
        weights = torch.stack([drawn[:, 0], drawn[:, 1] - drawn[:, 0], 1 - drawn[:, 1]], 1)
        weights = weights.to(sides)
        points = weights[:, :1] * (centre + offset) + (weights[:, 1:, None] * sides[chosen]).sum(1)
        adam.step(weights[:, 0] @ gradients(points, batch) / count)
        offset -= rows.T @ (rows @ offset)
    return centre + offset


def barycentric(order: int) -> Tensor:
    """((order+1)(order+2)/2, 3) float64: the regular grid on a triangle."""
    rows = [(i, j, order - i - j) for i in range(order + 1) for j in range(order + 1 - i)]
    return torch.tensor(rows, dtype=torch.float64) / order


def triangles(centre: Tensor, sides: Tensor, weights: Tensor) -> Tensor:
    """(T, n, P) points of the triangles (centre, side) at barycentric weights (n, 3)."""
    weights = weights.to(sides)
    return weights[:, :1] * centre + weights[:, 1:] @ sides
