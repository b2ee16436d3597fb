"""The Fisher penalty: |mean gradient of the log-likelihood of labels drawn from the model|²."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainables import streams
from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.engines import Engine
from trainables.losses import inverted
from trainables.optim.sgd import Tensors, column

if TYPE_CHECKING:
    from trainables.pack import Pack, PackState

GE_PENALTY = GE_GRADIENT + GE_PRODUCT  # a first-order graph, and once backward through it


def due(pack: "Pack", step: int) -> bool:
    """Whether the update that follows ``step`` updates is penalised."""
    return pack.has_fisher_penalty and step % pack.train["fisher_every"] == 0


def penalised(pack: "Pack", state: "PackState", grads: Tensors, x: Tensor,
              where: Tensor) -> Tensors:
    """Gradients of L + α|(1/B) Σ_i ∇log p(ŷ_i|x_i)|² of the runs ``where`` (R,), B the minibatch.

    ``grads`` are those of L on the same minibatch x (R, B, …); ŷ_i is a draw from the model's
    softmax at x_i, one a step, a function of (run seed, step), held fixed when differentiating
    (Jastrzębski et al. 2021, Catastrophic Fisher explosion). The other runs, and those with α = 0,
    keep their bits. 3 S/n GE, added to ``extra_ge``.
    """
    active = where & (pack.fisher_penalty > 0)
    _, extra = penalty_gradients(
        pack.engine, pack.trainer, state.params, pack.dropout_keys(state.step), x,
        draws(pack.seeds, state.step, x))
    spent = GE_PENALTY * x.shape[1] / len(pack.measure_set)
    state.extra_ge = state.extra_ge + spent * active.cpu().double()  # replaced: a copy's is its own
    return {n: torch.where(column(active, g), g + column(pack.fisher_penalty, g) * extra[n], g)
            for n, g in grads.items()}


def penalty_gradients(engine: Engine, module: nn.Module, params: Tensors, buffers: Tensors,
                      x: Tensor, uniform: Tensor) -> tuple[Tensor, Tensors]:
    """(R,) penalties |(1/B) Σ_i ∇log p(ŷ_i|x_i)|² and their gradients, by double backward.

    ŷ_i by inversion: the first class whose cumulated probability exceeds ``uniform`` (R, B).
    As E ∇log p(ŷ|x) = 0, the penalty's mean over the draws is tr F/B, F the Fisher information of
    the minibatch: one noisy estimate of it. Its gradient leaves out that the draws' distribution
    depends on the parameters, as the authors' does.
    """
    leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
    log_p = engine.outputs(module, leaves, buffers, x, shared=False).log_softmax(-1)
    labels = inverted(log_p.detach().exp(), uniform)
    means = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(1)
    scores = torch.autograd.grad(
        means.sum(), list(leaves.values()), create_graph=True, materialize_grads=True)
    penalties = sum(g.flatten(1).square().sum(1) for g in scores)
    found = torch.autograd.grad(penalties.sum(), list(leaves.values()), materialize_grads=True)
    return penalties.detach(), dict(zip(leaves, found, strict=True))


def draws(seeds: list[int], step: int, x: Tensor) -> Tensor:
    """(R, B) float64 uniform numbers for a minibatch x (R, B, …), by (run seed, step)."""
    drawn = {s: torch.rand(x.shape[1], generator=streams.generator(s, "fisher", step),
                           dtype=torch.float64) for s in set(seeds)}
    return torch.stack([drawn[s] for s in seeds]).to(x.device)
