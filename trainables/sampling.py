"""Which examples each step sees: a function of (run seed, epoch) alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from trainables.streams import generator, sent


def epoch_indices(
    seeds: Sequence[int], epoch: int, *, train_size: int, batch_size: int, replacement: bool = False
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


class Epochs:
    """The indices of an epoch on the device; the last are kept.

    Draws are made on the host, so that they are the same whatever the device; on an accelerator
    those of the next epoch are made and sent while it trains, so that it never waits for them.
    """

    def __init__(self, draw: Callable[[int], Tensor], device: torch.device, *,
                 ahead: bool | None = None):
        self._draw, self._device = draw, device
        self._ahead = device.type != "cpu" if ahead is None else ahead
        self._kept: tuple[int, Tensor] | None = None
        self._next: tuple[int, Future[Tensor]] | None = None
        self._worker: ThreadPoolExecutor | None = None

    def __call__(self, number: int) -> Tensor:
        """(R, ⌊N/S⌋, S) int64 of that epoch."""
        if self._kept is None or self._kept[0] != number:
            expected = self._next is not None and self._next[0] == number
            drawn = self._next[1].result() if expected else self._draw(number)
            self._kept = number, sent(drawn, self._device)
            if self._ahead:
                self._worker = self._worker or ThreadPoolExecutor(1)
                self._next = number + 1, self._worker.submit(self._draw, number + 1)
        return self._kept[1]
