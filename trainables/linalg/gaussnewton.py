"""Products of a block of runs with their generalised Gauss-Newton matrices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.linalg.products import Tensors, flatten, unflatten

if TYPE_CHECKING:
    from trainables.probe import Probe


def output_hessian(loss: str, outputs: Tensor, vector: Tensor) -> Tensor:
    """(…, C) outputs f and vectors a to (∂²ℓ/∂f²) a of each example's loss.

    cross_entropy: p∘a − p (p·a), p = softmax(f). mse, ½‖f − y‖²: a.
    """
    if loss == "mse":
        return vector
    p = F.softmax(outputs, dim=-1)
    weighted = p * vector
    return weighted - p * weighted.sum(-1, keepdim=True)


@dataclass(frozen=True)
class _Graph:
    outputs: Tensor  # (R, n, C), with its graph
    dual: Tensor  # (R, n, C) u
    pulled: list[Tensor]  # Jᵀu by parameter, linear in u, with its graph


class GaussNewton:
    """G_r = (1/n) Σ_i J_iᵀ (∂²ℓ_i/∂f²) J_i of each run of a block, J_i = ∂f_i/∂θ.

    ``outputs(params, chunk)`` returns (R, m, C) for one chunk of the ``size`` examples. J v comes
    from differentiating Jᵀu, which is linear in u, by u; then one backward pass gives Jᵀ
    (Schraudolph 2002). Exact up to rounding. With one chunk both graphs are built once; with
    several each product builds them anew. Cost: a gradient, then 4/3 GE a product: two passes
    without those parts of a Hessian product that differentiate the model twice.
    """

    def __init__(self, outputs: Callable[[Tensors, Tensor], Tensor], loss: str, params: Tensors,
                 chunks: Sequence[Tensor], size: int):
        self._outputs, self._loss, self._chunks, self._size = outputs, loss, chunks, size
        self._leaves = {n: p.detach().clone().requires_grad_() for n, p in params.items()}
        self._graph = self._built(chunks[0]) if len(chunks) == 1 else None

    def _built(self, chunk: Tensor) -> _Graph:
        outputs = self._outputs(self._leaves, chunk)
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, list(self._leaves.values()), dual,
                                     create_graph=True, materialize_grads=True)
        return _Graph(outputs, dual, list(pulled))

    def product(self, vectors: Tensor) -> Tensor:
        """(R, P) vectors v_r to (R, P) products G_r v_r."""
        parts = list(unflatten(vectors, self._leaves).values())
        if self._graph is not None:
            return self._times(self._graph, parts, retain=True)
        return sum(self._times(self._built(c), parts, retain=False) for c in self._chunks)

    def _times(self, graph: _Graph, parts: list[Tensor], *, retain: bool) -> Tensor:
        pairs = [(w, v) for w, v in zip(graph.pulled, parts, strict=True) if w.requires_grad]
        pulled, weights = zip(*pairs, strict=True)
        (pushed,) = torch.autograd.grad(pulled, graph.dual, weights, retain_graph=True)
        curved = output_hessian(self._loss, graph.outputs.detach(), pushed) / self._size
        back = torch.autograd.grad(graph.outputs, list(self._leaves.values()), curved,
                                   retain_graph=retain, materialize_grads=True)
        return flatten(dict(zip(self._leaves, back, strict=True)))


def gauss_newton(probe: "Probe") -> GaussNewton:
    """Of the mean loss on the measurement set, in chunks like those of ``probe.curvature``.

    1 GE, then 4/3 a product, for the caller to count.
    """
    from trainables.probe import GRAPH_BYTES, graph_bytes

    pack = probe.pack

    def outputs(params: Tensors, chunk: Tensor) -> Tensor:
        x, _, shared = pack.examples(chunk, probe.runs)
        return pack.engine.outputs(pack.evaluator, params, probe.buffers, x, shared=shared)

    each = max(1, GRAPH_BYTES // (3 * graph_bytes(pack) * len(probe.seeds)))
    return GaussNewton(
        outputs, pack.train["loss"], probe.params, pack.measure_set.split(each), probe.size)
