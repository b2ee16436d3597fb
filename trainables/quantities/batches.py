"""Minibatches drawn only to be measured, and the curvature of many of them at once."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.costs import GE_GRADIENT
from trainables.gradients import repeated
from trainables.linalg.products import Curvature
from trainables.losses import per_example
from trainables.pack import Pack
from trainables.streams import generator

if TYPE_CHECKING:
    from trainables.probe import Probe


def draw(pack: Pack, seeds: list[int], stream: str, step: int, count: int,
         size: int | None = None) -> Tensor:
    """(R, count, S) positions in the training set of batches like those that the runs train on.

    Independent of each other and of the order of training: a function of (seed, stream, step).
    Without replacement within a batch, or with, as the run samples. Where a batch is the whole
    training set there is one batch only. ``size`` defaults to the run's own S at that step; at
    most N.
    """
    total = pack.train_size
    size = min(size or pack.calendar.batch_size(pack.calendar.locate(step)[0]), total)
    replacement = pack.train["sampling"] == "with_replacement"
    if is_whole(pack, size):
        return torch.arange(total, device=pack.device).expand(len(seeds), 1, total)
    drawn = {}
    for seed in set(seeds):
        source = generator(seed, stream, step)
        drawn[seed] = torch.stack([
            torch.randint(total, (size,), generator=source) if replacement
            else torch.randperm(total, generator=source)[:size] for _ in range(count)])
    return torch.stack([drawn[s] for s in seeds]).to(pack.device)


def is_whole(pack: Pack, size: int) -> bool:
    """Whether a batch of that size is the whole training set, each example once."""
    return size == pack.train_size and pack.train["sampling"] != "with_replacement"


def gradients(probe: "Probe", index: Tensor) -> Tensor:
    """(R, M, P) gradients of the mean losses of the batches ``index`` (R, M, S); M S/n GE."""
    probe.spend(GE_GRADIENT * index.shape[1] * index.shape[2] / probe.size)
    return torch.stack([probe.gradient_of(probe.params, i) for i in index.unbind(1)], dim=1)


def folded(probe: "Probe", index: Tensor) -> Curvature:
    """Gradient and Hessian products of R·m batches ``index`` (R, m, S), as if each were a run.

    Rows are run-major: row r·m + j is batch j of run r, with that run's parameters and noise;
    dropout off, BatchNorm as everywhere in the probe. m S/n GE, counted here; a product of all
    rows is 2 m S/n GE, for the caller to count.
    """
    runs, m, size = index.shape
    pack = probe.pack
    x, y = pack.batch(index.flatten(1), probe.runs)
    x, y = x.reshape(runs * m, size, *x.shape[2:]), y.reshape(runs * m, size)
    params, buffers = repeated(probe.params, m), repeated(probe.buffers, m)

    def loss_sums(leaves: dict[str, Tensor], chunk: Tensor) -> Tensor:  # noqa: ARG001
        out = pack.engine.outputs(pack.evaluator, leaves, buffers, x, shared=False)
        return per_example(pack.train["loss"], out, y).sum(1)

    probe.spend(GE_GRADIENT * m * size / probe.size)
    return Curvature(loss_sums, params, [torch.arange(size)], size)
