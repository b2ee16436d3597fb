"""Training in random low-dimensional affine subspaces θ = θ₀ + M z: Li et al. 2018, Fort 2019."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from trainables import streams
from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.basis import DenseBasis, HartleyBasis, draw
from trainables.landscape.descent import Adam, HeavyBall
from trainables.landscape.surface import Surface, batches, curve


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Final training loss and test accuracy against the dimension d, a series a draw of M.

    θ₀ is the run's first or last point, moved by ``distance``·‖θ₀‖ in a random direction
    orthogonal to M. The subspaces of one draw are nested and see the same minibatches, so
    differences between dimensions are less noisy than between draws. Steps are fixed: what is
    found is an upper bound of the lowest loss there. No dimension above P.
    """
    surface = Surface(subject)
    final = surface.point(subject.weights[0])
    dims = [d for d in options["dims"] if d <= surface.dim]
    here = surface.heights(final[None])
    found = [("subspace_train_loss", curve([surface.dim], here.train_loss, "run")),
             ("subspace_test_accuracy", curve([surface.dim], here.test_accuracy, "run"))]
    for number in range(options["draws"] if dims else 0):
        basis = draw(options["basis"], surface.dim, dims[-1], subject.seed, number, final)
        origin = _moved(surface.initial if options["origin"] == "initial" else final,
                        basis, options["distance"], subject.seed, number)
        points = train(origin, basis, dims, surface.gradients, batches(
            surface, subject.seed, options["steps"], options["batch_size"]), options)
        heights = surface.heights(points)
        found += [
            ("subspace_train_loss", curve(dims, heights.train_loss, f"draw_{number}")),
            ("subspace_test_accuracy", curve(dims, heights.test_accuracy, f"draw_{number}"))]
    return found


def _moved(origin: Tensor, basis: DenseBasis | HartleyBasis, distance: float, seed: int,
           number: int) -> Tensor:
    if distance == 0:
        return origin
    away = streams.normal([seed], "subspace_away", number, (len(origin),), origin)
    away = away - basis.spread(basis.gather(away))
    return origin + distance * origin.norm() * away[0] / away.norm()


def train(origin: Tensor, basis: DenseBasis | HartleyBasis, dims: list[int],
          gradients: Callable[[Tensor, Tensor], Tensor], index: Iterable[Tensor],
          options: dict) -> Tensor:
    """(K, P) points θ₀ + M z, z from 0 and in the first d columns for each of the K ``dims``.

    One step of Adam or SGD on z an index; ``gradients`` maps (K, P) points and a minibatch to
    (K, P). K GE·m/N a step, and K·4·P·d for the two products with a dense M: as much as 2 K d/3N
    GE of a dense net.
    """
    columns = torch.arange(dims[-1], device=origin.device)
    inside = (columns < torch.tensor(dims, device=origin.device)[:, None]).to(origin)
    z = torch.zeros_like(inside)
    optimizer = (Adam(z, options["lr"]) if options["optimizer"] == "adam" else
                 HeavyBall(z, options["lr"], options["momentum"]))
    for batch in index:
        optimizer.step(basis.gather(gradients(origin + basis.spread(z), batch)) * inside)
    return origin + basis.spread(z)
