"""Gradients of parts of the measurement set: minibatches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.linalg.products import flatten
from trainables.losses import per_example

if TYPE_CHECKING:
    from trainables.probe import Probe

COPY_BYTES = 16 << 20  # of parameters copied for batches evaluated at once: they stay in cache


@dataclass(frozen=True)
class Minibatches:
    """Gradients of L disjoint minibatches of the measurement set, and the mean over all of it."""

    gradients: Tensor  # (R, L, P)
    mean: Tensor  # (R, P) full gradient, what is left over beyond L·size included
    size: int  # examples of a minibatch
    indices: Tensor  # (L, size) positions in the training set


def minibatch_gradients(probe: "Probe", count: int, size: int) -> Minibatches:
    """One pass over the measurement set in one random order, the same wherever it is taken."""
    source = torch.Generator().manual_seed(0)
    order = torch.randperm(probe.size, generator=source).to(probe.pack.measure_set.device)
    order = probe.pack.measure_set[order]
    used, left = order[: count * size].view(count, size), order[count * size:]
    found = batch_gradients(probe, used)
    total = found.sum(dim=1) * size
    if len(left):
        total = total + probe.gradient_of(probe.params, left) * len(left)
    return Minibatches(found, total / probe.size, size, used)


def batch_gradients(probe: "Probe", indices: Tensor) -> Tensor:
    """(R, L, P) gradients of the mean losses of L batches ``indices`` (L, S); L S/n GE.

    For the caller to count. Several batches are evaluated at once, as if each were a run of its
    own with a copy of the parameters: the same numbers at a third of the time where a batch is too
    small to fill the machine. The copies take up to ``COPY_BYTES``, the graphs what those of the
    probe may; the loop engine takes one batch after another.
    """
    from trainables.probe import GRAPH_BYTES, graph_bytes

    if not probe.pack.engine.packed:
        return torch.stack([probe.gradient_of(probe.params, i) for i in indices], dim=1)
    graph = graph_bytes(probe.pack) * len(probe.seeds) * indices.shape[1]
    copy = probe.flat.numel() * probe.flat.element_size()
    each = max(1, min(COPY_BYTES // copy, GRAPH_BYTES // graph))
    return torch.cat([_copied(probe, part) for part in indices.split(each)], dim=1)


def _copied(probe: "Probe", indices: Tensor) -> Tensor:
    pack, runs, (count, size) = probe.pack, len(probe.seeds), indices.shape
    leaves = {n: p.requires_grad_() for n, p in repeated(probe.params, count).items()}
    x, y, shared = pack.examples(indices.flatten(), probe.runs)
    x = x.expand(runs, *x.shape) if shared else x
    x, y = x.reshape(runs * count, size, *x.shape[2:]), y.reshape(runs * count, size)
    out = pack.engine.outputs(
        pack.evaluator, leaves, repeated(probe.buffers, count), x, shared=False)
    losses = per_example(pack.train["loss"], out, y).mean(1)
    grads = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
    return flatten(dict(zip(leaves, grads, strict=True))).view(runs, count, -1)


def repeated(tensors: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """name -> (R, …) to (R · count, …), each row ``count`` times."""
    return {n: t.detach().repeat_interleave(count, dim=0) for n, t in tensors.items()}
