"""Gradient and Hessian-vector products of a block of runs, from one retained first-order graph."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def flatten(tensors: Tensors) -> Tensor:
    """name -> (R, …) to (R, P), in the dict's order."""
    return _joined(tensors.values())


def unflatten(flat: Tensor, like: Tensors) -> Tensors:
    """(R, P) back to name -> (R, …)."""
    parts = flat.split([t[0].numel() for t in like.values()], dim=1)
    return {n: p.reshape(t.shape) for (n, t), p in zip(like.items(), parts, strict=True)}


def _joined(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([p.reshape(len(p), -1) for p in parts], dim=1)


class Curvature:
    """The mean loss L_r(θ_r) of each run of a block: gradient, and products with its Hessian.

    ``loss_sums(params, chunk)`` returns (R,) sums of the losses over one chunk of the ``size``
    examples. With one chunk the first-order graph is built once and reused: a product is one
    backward pass through it (double backward; Pearlmutter 1994). With several chunks the graph
    would not fit in memory, so each product rebuilds it chunk by chunk: the same values at about
    twice the cost. As no loss depends on another run's parameters, the products are those of
    the R separate Hessians, exact up to rounding.
    """

    def __init__(self, loss_sums: Callable[[Tensors, Tensor], Tensor], params: Tensors,
                 chunks: Sequence[Tensor], size: int):
        self._loss_sums, self._chunks, self._size = loss_sums, chunks, size
        self._leaves = {n: p.detach().clone().requires_grad_() for n, p in params.items()}
        self._graph: list[Tensor] | None = None
        total = None
        for chunk in chunks:
            grads = self._gradients(chunk)
            part = [g.detach() for g in grads]
            total = part if total is None else [a + b for a, b in zip(total, part, strict=True)]
            if len(chunks) == 1:
                self._graph = grads
        self.gradient: Tensor = _joined(total)  # (R, P)

    def _gradients(self, chunk: Tensor) -> list[Tensor]:
        loss = self._loss_sums(self._leaves, chunk).sum() / self._size
        return list(torch.autograd.grad(
            loss, list(self._leaves.values()), create_graph=True, materialize_grads=True))

    def product(self, vectors: Tensor) -> Tensor:
        """(R, P) vectors v_r to (R, P) products H_r v_r."""
        parts = list(unflatten(vectors, self._leaves).values())
        if self._graph is not None:
            return self._backward(self._graph, parts, retain=True)
        return sum(self._backward(self._gradients(c), parts, retain=False) for c in self._chunks)

    def _backward(self, grads: list[Tensor], parts: list[Tensor], *, retain: bool) -> Tensor:
        pairs = [(g, v) for g, v in zip(grads, parts, strict=True) if g.requires_grad]
        leaves = list(self._leaves.values())
        if not pairs:  # a loss that is linear in the parameters
            return torch.zeros_like(self.gradient)
        outputs, weights = zip(*pairs, strict=True)
        back = torch.autograd.grad(
            outputs, leaves, weights, retain_graph=retain, materialize_grads=True)
        return _joined(back)
