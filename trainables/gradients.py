"""Gradients of parts of the measurement set: minibatches, and single examples."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from trainables.losses import per_example
from trainables.products import flatten

if TYPE_CHECKING:
    from trainables.probe import Probe

EXAMPLES_AT_ONCE = 64  # of single-example gradients, so that their intermediates stay small


@dataclass(frozen=True)
class Minibatches:
    """Gradients of L disjoint minibatches of the measurement set, and the mean over all of it."""

    gradients: Tensor  # (R, L, P)
    mean: Tensor  # (R, P) full gradient, what is left over beyond L·size included
    size: int  # examples of a minibatch
    indices: Tensor  # (L, size) positions in the training set


def minibatch_gradients(probe: "Probe", count: int, size: int) -> Minibatches:
    """One pass over the measurement set in a fixed random order (of the data's seed)."""
    source = torch.Generator().manual_seed(0)
    order = torch.randperm(probe.size, generator=source).to(probe.pack.measure_set.device)
    order = probe.pack.measure_set[order]
    used, left = order[: count * size].view(count, size), order[count * size:]
    found = torch.stack([probe.gradient_of(probe.params, index) for index in used], dim=1)
    total = found.sum(dim=1) * size
    if len(left):
        total = total + probe.gradient_of(probe.params, left) * len(left)
    return Minibatches(found, total / probe.size, size, used)


def example_gradients(probe: "Probe", index: Tensor) -> Tensor:
    """(R, m, P) gradient of each training example's own loss, at positions ``index`` (m,); m/n GE.

    For the caller to count. The memory is that of the result, R m P numbers.
    """
    pack = probe.pack
    x, y, shared = pack.examples(index, probe.runs)

    def one(params, buffers, x, y):
        def loss(p):
            out = functional_call(pack.evaluator, (p, buffers), (x[None],))
            return per_example(pack.train["loss"], out, y[None]).sum()

        return grad(loss)(params)

    each = vmap(one, in_dims=(None, None, 0, 0))
    found = []
    for r in range(len(probe.seeds)):
        params = {n: p[r] for n, p in probe.params.items()}
        buffers = {n: b[r] for n, b in probe.buffers.items()}
        of_run = [
            flatten(each(params, buffers, a, b))
            for a, b in zip((x if shared else x[r]).split(EXAMPLES_AT_ONCE),
                            y[r].split(EXAMPLES_AT_ONCE), strict=True)]
        found.append(torch.cat(of_run))
    return torch.stack(found)
