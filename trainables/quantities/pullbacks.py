"""Squared norms of single examples' gradients, pulled back from residuals of the outputs.

Of an example with outputs f and Jacobian J = ∂f/∂θ, ∇θ log p(ŷ|x) = Jᵀ r with r = ∂ log p(ŷ|f)/∂f.
Cross-entropy: ŷ is a class with p = softmax(f). Mean squared error: ŷ ~ N(f, I), the unit variance
that makes ½‖f − ŷ‖² a negative log-likelihood; then Tr F = E ‖J‖²_F, whatever the labels.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from trainables.losses import inverted

if TYPE_CHECKING:
    from trainables.probe import Probe

Tensors = dict[str, Tensor]
# r of one example: its outputs (C,) and what was drawn for it, to (s, C).
Residuals = Callable[[Tensor, Tensor], Tensor]

# Bytes of gradients held at once (on a CPU they stay in cache), and the most examples.
CPU_BYTES, GPU_BYTES, EXAMPLES_AT_ONCE = 8 << 20, 256 << 20, 64


def sampled(loss: str, outputs: Tensor, drawn: Tensor) -> Tensor:
    """(…, C) outputs to (…, s, C) residuals r of labels that the model itself draws.

    ``drawn`` is (…, s) uniform on [0, 1) for cross_entropy (``losses.inverted``), (…, s, C)
    standard normal for mse.
    """
    if loss == "mse":
        return drawn
    p = F.softmax(outputs, dim=-1)
    return _one_hot(inverted(p[..., None, :], drawn), p) - p[..., None, :]


def weighted(loss: str, outputs: Tensor) -> Tensor:
    """(…, C) outputs to (…, C, C) r whose squared pullbacks add up to the mean over all labels.

    cross_entropy: √p_c (e_c − p), one a class. mse: e_c, as E εεᵀ = I.
    """
    classes = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
    if loss == "mse":
        return classes.expand(*outputs.shape, -1)
    p = F.softmax(outputs, dim=-1)
    return p.sqrt()[..., None] * (classes - p[..., None, :])


def observed(loss: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """(…, C) outputs and (…,) true labels to the (…, C) r of those labels."""
    mean = outputs if loss == "mse" else F.softmax(outputs, dim=-1)
    return _one_hot(labels, outputs) - mean


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    classes = torch.arange(like.shape[-1], device=like.device)
    return (labels[..., None] == classes).to(like.dtype)


def draws(loss: str, source: torch.Generator, shape: tuple[int, int], classes: int) -> Tensor:
    """What ``sampled`` wants for (m, s) labels: (m, s) uniforms or (m, s, C) normals, float64."""
    if loss == "mse":
        return torch.randn(*shape, classes, generator=source, dtype=torch.float64)
    return torch.rand(shape, generator=source, dtype=torch.float64)


def pullback_norms(probe: "Probe", index: Tensor, drawn: Tensor, residuals: Residuals) -> Tensor:
    """(R, m, s) float64 squared norms |J_iᵀ r|² of examples ``index`` (m,), r of ``residuals``.

    ``residuals(outputs (C,), what is drawn for the example) -> (s, C)``; ``drawn`` is (R, m, …).
    No gradient outlives its norm: at most ``CPU_BYTES`` or ``GPU_BYTES`` of them, or one, exist at
    once, beside the intermediates of one example each. Cost: (1 + 2 s) m/(3 n) GE, for the caller
    to count; its time is 20 to 40 times that of as many GE of a whole gradient (measured on a CPU,
    dense nets), since each example's gradient is written out.
    """
    pack, found = probe.pack, []
    x, _, shared = pack.examples(index, probe.runs)
    one = _vectorised if pack.engine.packed else _looped
    for r in range(len(probe.seeds)):
        params = {n: p[r] for n, p in probe.params.items()}
        buffers = {n: b[r] for n, b in probe.buffers.items()}

        def model(p: Tensors, x: Tensor, buffers: Tensors = buffers) -> Tensor:
            return functional_call(pack.evaluator, (p, buffers), (x[None],))[0]

        found.append(one(model, params, x if shared else x[r], drawn[r], residuals).double())
    return torch.stack(found)


def _vectorised(model, params: Tensors, x: Tensor, drawn: Tensor, residuals: Residuals) -> Tensor:
    held = sum(p.numel() * p.element_size() for p in params.values())
    fits = max(1, (CPU_BYTES if x.device.type == "cpu" else GPU_BYTES) // held)

    def example(x: Tensor, drawn: Tensor) -> Tensor:
        outputs, pull = vjp(lambda p: model(p, x), params)

        def norm(r: Tensor) -> Tensor:
            return sum(g.square().sum() for g in pull(r)[0].values())

        return vmap(norm, chunk_size=fits)(residuals(outputs, drawn))

    with torch.no_grad():
        count = residuals(model(params, x[0]), drawn[0]).shape[0]
    each = min(EXAMPLES_AT_ONCE, max(1, fits // count))
    return torch.cat([vmap(example)(a, b) for a, b in zip(
        x.split(each), drawn.split(each), strict=True)]).detach()


def _looped(model, params: Tensors, x: Tensor, drawn: Tensor, residuals: Residuals) -> Tensor:
    found, leaves = [], {n: p.detach().requires_grad_() for n, p in params.items()}
    for a, b in zip(x, drawn, strict=True):
        outputs = model(leaves, a)
        norms = [_norm(outputs, leaves, r) for r in residuals(outputs.detach(), b)]
        found.append(torch.stack(norms))
    return torch.stack(found)


def _norm(outputs: Tensor, leaves: Tensors, r: Tensor) -> Tensor:
    grads = torch.autograd.grad(outputs, list(leaves.values()), r, retain_graph=True,
                                materialize_grads=True)
    return sum(g.square().sum() for g in grads)


def two_stage(values: Tensor, population: int, *, exact: bool) -> tuple[Tensor, Tensor]:
    """(R,) mean over n = ``population`` examples and its standard error, from values (R, m, s).

    m random ones of the n examples, s independent draws of each. Variance: (1 − m/n) b/m + w/(n s)
    with b the variance of the examples' means and w that of the draws of one example (two-stage
    sampling, Cochran 1977, chapter 10): unbiased. s = 1 shows no w: b stands in for it, which
    makes the variance too large, by the examples' own variance over n. ``exact`` values carry no
    w. NaN for m = 1, except where that is all there is.
    """
    m, s = values.shape[1:]
    means = values.mean(dim=2)
    if exact and m == population:
        return means.mean(1), 0 * means.mean(1)
    between = means.var(dim=1) if m > 1 else torch.full_like(means[:, 0], torch.nan)
    drawn = values.var(dim=2).mean(1) if s > 1 else between
    within = torch.zeros_like(between) if exact else drawn
    return means.mean(1), ((1 - m / population) * between / m + within / (population * s)).sqrt()
