"""Which examples each step sees: a function of (run seed, epoch) alone."""

import torch
from torch import Tensor

from trainables.streams import generator


def epoch_indices(
    seeds: list[int], epoch: int, *, train_size: int, batch_size: int, replacement: bool = False
) -> Tensor:
    """(R, ⌊N/S⌋, S) int64: the minibatches of one epoch of each run.

    Without replacement each epoch is a fresh permutation whose remainder N mod S is dropped;
    with replacement every example is drawn independently. A full batch (S = N, without
    replacement) is the training set in its own order.
    """
    batches = train_size // batch_size
    if batch_size == train_size and not replacement:
        return torch.arange(train_size).expand(len(seeds), 1, train_size)
    drawn = {s: _draw(s, epoch, train_size, batches * batch_size, replacement) for s in set(seeds)}
    return torch.stack([drawn[s] for s in seeds]).view(len(seeds), batches, batch_size)


def _draw(seed: int, epoch: int, train_size: int, count: int, replacement: bool) -> Tensor:
    source = generator(seed, "order", epoch)
    if replacement:
        return torch.randint(train_size, (count,), generator=source)
    return torch.randperm(train_size, generator=source)[:count]
