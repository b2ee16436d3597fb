"""Nudged SGD: another learning rate in the span of the Hessian's sharpest directions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.costs import GE_PRODUCT
from trainables.linalg.lanczos import extreme_eigenpairs
from trainables.linalg.products import flatten, unflatten
from trainables.optim import sgd

if TYPE_CHECKING:
    from trainables.pack import Pack, PackState

START_VECTORS, MOST_PRODUCTS = 2, 200


@dataclass(frozen=True)
class Nudge:
    """γ of each run, (R,) float64; how many directions, how often found, how closely."""

    gamma: Tensor
    k: int
    every_epochs: int
    tolerance: float


def update_(
    params: sgd.Tensors,
    velocity: sgd.Tensors | None,
    grads: sgd.Tensors,
    directions: Tensor,
    gamma: Tensor,
    *,
    rate: Tensor,
    momentum: Tensor,
    weight_decay: Tensor | None,
    nesterov: bool,
) -> None:
    """One step in place for each run r: θ ← θ − rate·(d + (γ − 1) Σ_i ⟨d, e_i⟩ e_i).

    d is the direction of plain SGD (``sgd.update_``), e_i the rows of ``directions`` (R, k, P).
    The velocity takes in the plain d: as in the authors' code (type "correct_v"; Jastrzębski et
    al. 2019), and so with a fixed span just SGD of learning rate γη within it. γ = 1 is plain SGD.
    4 k P multiply-adds a run.
    """
    plain = {n: sgd.direction(n, p, velocity, grads, momentum=momentum, nesterov=nesterov,
                              weight_decay=weight_decay) for n, p in params.items()}
    moved = unflatten(nudged(flatten(plain), directions, gamma), params)
    for name, p in params.items():
        p.addcmul_(moved[name], sgd.column(-rate, p))


def nudged(vectors: Tensor, directions: Tensor, gamma: Tensor) -> Tensor:
    """v + (γ − 1) Σ_i ⟨v, e_i⟩ e_i of (R, P) vectors; ``directions`` (R, k, P) are orthonormal."""
    along = torch.bmm(directions, vectors.unsqueeze(2))  # (R, k, 1)
    inside = torch.bmm(along.transpose(1, 2), directions).squeeze(1)
    return vectors + (gamma - 1).to(vectors.dtype)[:, None] * inside


def refresh(pack: "Pack", state: "PackState", nudge: Nudge) -> None:
    """At the start of every ``every_epochs``-th epoch: the top k eigenvectors at the present place.

    Of the Hessian of the mean loss on the measurement set, as every monitor sees it (dropout off,
    BatchNorm with the calibration batch), by Lanczos from random vectors of the run's own stream:
    a function of the state at that step, kept in the state until the next. Each eigenvalue is
    found to ``tolerance``·λ₁ or MOST_PRODUCTS; of eigenvalues that are closer to each other, the
    vectors may be mixed. Where a product is not finite there are no directions: plain SGD.
    Cost: 1 GE for the graph and 2 GE a product, added to ``extra_ge`` of the runs that are alive.
    """
    from trainables.probe import Probe, blocks  # it looks ahead by updates, so imports this module

    epoch, batch = pack.calendar.locate(state.step)
    if batch or epoch % nudge.every_epochs:
        return
    found, spent = torch.zeros_like(state.directions), torch.zeros_like(state.extra_ge)
    for block in blocks(pack):
        if not bool(state.alive[block].any()):
            continue
        probe = Probe(pack, state, block)
        pairs = extreme_eigenpairs(
            probe.curvature.product, probe.normals("nudge", START_VECTORS), k=nudge.k,
            smallest=False, tolerance=nudge.tolerance, max_products=MOST_PRODUCTS)
        found[block] = pairs.vectors.nan_to_num(0.0, 0.0, 0.0)
        spent[block] = probe.ge + GE_PRODUCT * pairs.products.double().cpu()
    state.directions = found  # replaced, not changed: a copy's update leaves the original alone
    state.extra_ge = state.extra_ge + spent * state.alive.cpu()
