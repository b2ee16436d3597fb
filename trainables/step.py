"""One update of a pack, and the judgement that ends a run whose loss is out of bounds.

``update`` is the host's part of a step: which batch, at which rate, with which noise. ``advance``
is the device's part, a function of tensors alone that changes the state in place: it can be run as
it is, compiled as one graph, or captured (see ``stepgraph``).
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainables import stepgraph, streams
from trainables.linalg.products import unflatten
from trainables.optim import nudged, optimizers, penalty, sgd
from trainables.outcomes import Outcome
from trainables.pack import Pack, PackState
from trainables.quantities import path
from trainables.schedules import lr_factor

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Given:
    """What a step is given beside the pack and its state; on the device, None where not needed."""

    index: Tensor                    # (R, S) int64, the examples of each run's minibatch
    rate: Tensor                     # (R,) η times the schedule's factor
    step: Tensor                     # () int64, updates made before this one
    keys: Tensor | None = None       # (R,) int64, of the dropout masks
    noise: Tensor | None = None      # (R, P) standard normals
    corrections: Tensor | None = None  # (R, 2) float64, Adam's 1 − β₁ᵗ and 1 − β₂ᵗ

    def tensors(self) -> Tensors:
        """Those that are there, by name."""
        return {f.name: t for f in fields(self) if (t := getattr(self, f.name)) is not None}


def update(pack: Pack, state: PackState) -> None:
    """One step of every run that is alive; runs whose loss is out of bounds end here."""
    if pack.optimizer.nudge is not None:
        nudged.refresh(pack, state, pack.optimizer.nudge)
    path.begin(pack, state)
    fused = stepgraph.pays(pack) and not penalty.due(pack, state.step)
    if fused and pack.graph is None:
        pack.graph = stepgraph.StepGraph(advance)
    (pack.graph if fused else advance)(pack, state, given(pack, state.step))
    state.step += 1


def prepare(pack: Pack) -> None:
    """Makes the graph of the pack's steps if its engine is compiled, and calls it once on a scratch
    state, whether or not the first update goes through it. CannotCompile where it cannot be made.
    """
    if not pack.engine.compiled or pack.graph is not None:
        return
    graph, state = stepgraph.StepGraph(advance), pack.init()
    path.begin(pack, state)
    graph(pack, state, given(pack, 0))
    pack.graph = graph


def given(pack: Pack, step: int) -> Given:
    """What the update that follows ``step`` updates needs: a function of the step alone."""
    epoch, batch = pack.calendar.locate(step)
    adam = pack.optimizer.adam
    return Given(
        index=pack.epoch(epoch)[:, batch].contiguous(),
        rate=pack.lr * lr_factor(pack.train["lr_schedule"], step, pack.calendar, pack.steps),
        step=torch.full((), step, dtype=torch.int64, device=pack.device),
        keys=pack.keys_at(step),
        noise=_noise(pack, step) if pack.has_gradient_noise else None,
        corrections=None if adam is None else torch.stack(adam.corrections(step + 1), 1))


def _noise(pack: Pack, step: int) -> Tensor:
    return streams.normal(
        pack.seeds, "gradient_noise", step, (pack.parameters,), next(iter(pack.initial.values())))


def advance(pack: Pack, state: PackState, at: Given) -> None:
    """The update on the device, in place; ``state.step`` is left to the host."""
    x, y = pack.batch(at.index)
    alive = state.alive
    losses, grads = pack.engine.gradients(
        pack.trainer, state.params, pack.buffers(at.keys), x, y, pack.train["loss"], alive)
    sound = judge(state, alive, losses, pack.train["max_loss"], at.step)
    if penalty.due(pack, state.step):
        grads = penalty.penalised(pack, state, grads, x, alive & sound)
    if at.noise is not None:
        drawn = unflatten(at.noise, grads)
        grads = {n: g + sgd.column(pack.gradient_noise, g) * drawn[n] for n, g in grads.items()}
    before = path.places(state)
    optimizers.advance(pack, state, grads, at.rate * (alive & sound), at.corrections)
    path.extend(state, before)


def judge(state: PackState, alive: Tensor, losses: Tensor, bound: float,
          step: int | Tensor) -> Tensor:
    """Ends the runs ``alive`` whose loss is out of bounds at this step; (R,) whose is not."""
    sound = losses <= bound  # False for NaN
    end_runs(state, alive & ~sound & losses.isfinite(), Outcome.TOO_LARGE, step, losses)
    end_runs(state, alive & ~losses.isfinite(), Outcome.NON_FINITE, step, losses)
    return sound


def end_runs(state: PackState, which: Tensor, outcome: Outcome, step: int | Tensor,
             losses: Tensor) -> None:
    """Notes in place how, when and at which loss the runs ``which`` (R,) ended."""
    state.outcome.copy_(torch.where(which, outcome.code, state.outcome))
    state.end_step.copy_(torch.where(which, step, state.end_step))
    state.end_loss.copy_(torch.where(which, losses.double(), state.end_loss))
