"""A fixed subset of a data set, with as nearly as possible equally many examples of each class."""

import torch
from torch import Tensor


def balanced(labels: Tensor, count: int, source: torch.Generator) -> Tensor:
    """(min(count, n),) ascending positions in ``labels`` (n,), drawn by ``source``.

    Round by round one example of each class that has any left, in random order; where a class runs
    out the others fill its place. The draw is made on the CPU.
    """
    order = torch.randperm(len(labels), generator=source)
    classes = labels.cpu()[order]
    turn = torch.zeros(len(labels), dtype=torch.int64)
    for c in classes.unique():
        of_class = classes == c
        turn[of_class] = torch.arange(int(of_class.sum()))
    first = turn.argsort(stable=True)[:count]
    return order[first].sort().values.to(labels.device)
