"""One update of a pack, and the judgement that ends a run whose loss is out of bounds."""

import torch
from torch import Tensor

from trainables import streams
from trainables.linalg.products import unflatten
from trainables.optim import optimizers, penalty, sgd
from trainables.outcomes import Outcome
from trainables.pack import Pack, PackState
from trainables.quantities import path
from trainables.schedules import lr_factor


def update(pack: Pack, state: PackState) -> None:
    """One step of every run that is alive; runs whose loss is out of bounds end here."""
    step = state.step
    epoch, batch = pack.calendar.locate(step)
    x, y = pack.batch(pack.epoch(epoch)[:, batch])
    alive = state.alive
    losses, grads = pack.engine.gradients(
        pack.trainer, state.params, pack.dropout_keys(step), x, y, pack.train["loss"], alive)
    sound = judge(state, alive, losses, pack.train["max_loss"])
    if pack.has_fisher_penalty and step % pack.train["fisher_every"] == 0:
        grads = penalty.penalised(pack, state, grads, x, alive & sound)
    if pack.has_gradient_noise:
        grads = _perturbed(pack, grads, step)
    factor = lr_factor(pack.train["lr_schedule"], step, pack.calendar, pack.steps)
    before = path.places(pack, state)
    optimizers.advance(pack, state, grads, pack.lr * factor * (alive & sound))
    path.extend(state, before)
    state.step += 1


def judge(state: PackState, alive: Tensor, losses: Tensor, bound: float) -> Tensor:
    """Ends the runs ``alive`` whose loss is out of bounds at this step; (R,) whose is not."""
    sound = losses <= bound  # False for NaN
    end_runs(state, alive & ~sound & losses.isfinite(), Outcome.TOO_LARGE, state.step, losses)
    end_runs(state, alive & ~losses.isfinite(), Outcome.NON_FINITE, state.step, losses)
    return sound


def end_runs(state: PackState, which: Tensor, outcome: Outcome, step: int, losses: Tensor) -> None:
    """Notes how, when and at which loss the runs ``which`` (R,) ended."""
    state.outcome = torch.where(which, outcome.code, state.outcome)
    state.end_step = torch.where(which, step, state.end_step)
    state.end_loss = torch.where(which, losses.double(), state.end_loss)


def _perturbed(pack: Pack, grads: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    like = next(iter(grads.values()))
    drawn = unflatten(streams.normal(
        pack.seeds, "gradient_noise", step, (pack.parameters,), like), grads)
    return {n: g + sgd.column(pack.gradient_noise, g) * drawn[n] for n, g in grads.items()}
