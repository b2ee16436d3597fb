"""Inner products of the examples' gradients, without holding all gradients at once."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from trainables.losses import per_example

if TYPE_CHECKING:
    from trainables.probe import Probe

Tensors = dict[str, Tensor]
# Of the gradients held at once (one parameter tensor at least), of examples whose intermediates
# are, and columns that are turned to float64 together.
GRADIENT_BYTES, EXAMPLES_AT_ONCE, COLUMNS_AT_ONCE = 1 << 30, 64, 1 << 20


def example_grams(probe: "Probe", x: Tensor, labels: Tensor,
                  parts: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    """(R, len(parts), m, m) float64 matrices ⟨g_i, g_j⟩ over each part of the parameters.

    g_i is the gradient of example i's own loss at the probe's parameters; ``x`` (m, …) if shared
    by the runs, else (R, m, …), ``labels`` (R, m); a part is a list of parameters' names. Also the
    number of passes over the m examples: one where m gradients fit into ``GRADIENT_BYTES``, else
    parameters are taken a few at a time. A pass is m/n GE, for the caller to count. Gradients are
    of the pack's precision, sums of products in float64.
    """
    m, shared = labels.shape[1], x.dim() == probe.pack.x_train.dim()
    found = torch.zeros(
        len(labels), len(parts), m, m, dtype=torch.float64, device=labels.device)
    place = {name: i for i, part in enumerate(parts) for name in part}
    groups = list(_groups({n: probe.params[n] for n in place}, m))
    for r in range(len(labels)):
        params = {n: p[r] for n, p in probe.params.items()}
        buffers = {n: b[r] for n, b in probe.buffers.items()}
        for group in groups:
            grads = _gradients(probe, params, buffers, group, x if shared else x[r], labels[r])
            for name, of_examples in grads.items():
                for columns in of_examples.flatten(1).split(COLUMNS_AT_ONCE, dim=1):
                    wide = columns.double()
                    found[r, place[name]] += wide @ wide.T
    return found, len(groups)


def _groups(params: Tensors, m: int) -> Iterator[list[str]]:
    """The names, in order, in groups whose m gradients fit."""
    group, held = [], 0
    for name, p in params.items():
        size = m * p[0].numel() * p.element_size()
        if group and held + size > GRADIENT_BYTES:
            yield group
            group, held = [], 0
        group, held = [*group, name], held + size
    if group:
        yield group


def _gradients(probe: "Probe", params: Tensors, buffers: Tensors, group: list[str], x: Tensor,
               labels: Tensor) -> Tensors:
    """name -> (m, …) gradients of one run's m losses with respect to the parameters ``group``."""
    pack = probe.pack

    def one(some: Tensors, x: Tensor, y: Tensor) -> Tensor:
        out = functional_call(pack.evaluator, (params | some, buffers), (x[None],))
        return per_example(pack.train["loss"], out, y[None]).sum()

    some = {n: params[n].detach() for n in group}
    if not pack.engine.packed:  # the model may be one that cannot be vectorised
        found = [_gradient(one, some, a, b) for a, b in zip(x, labels, strict=True)]
        return {n: torch.stack([g[n] for g in found]) for n in group}
    each = vmap(grad(one), in_dims=(None, 0, 0))
    found = [each(some, a, b) for a, b in zip(
        x.split(EXAMPLES_AT_ONCE), labels.split(EXAMPLES_AT_ONCE), strict=True)]
    return {n: torch.cat([g[n] for g in found]) for n in group}


def _gradient(loss, some: Tensors, x: Tensor, y: Tensor) -> Tensors:
    leaves = {n: p.clone().requires_grad_() for n, p in some.items()}
    grads = torch.autograd.grad(
        loss(leaves, x, y), list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))


def last_layer(probe: "Probe") -> list[str]:
    """Names of the parameters of the layer that was registered last, by the model's own order.

    Of our models that is the output layer; a user's model that registers it earlier gets another.
    """
    names = list(probe.params)
    head = names[-1].rpartition(".")[0] if names else ""
    return [n for n in names if n.rpartition(".")[0] == head]
