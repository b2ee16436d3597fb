"""The update of a pack: SGD with momentum, Nesterov and weight decay, one rate a run."""

from torch import Tensor

Tensors = dict[str, Tensor]


def column(values: Tensor, like: Tensor) -> Tensor:
    """(R,) values shaped to broadcast over ``like`` (R, …)."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def update_(
    params: Tensors,
    velocity: Tensors | None,
    grads: Tensors,
    *,
    rate: Tensor,
    momentum: Tensor,
    weight_decay: Tensor | None,
    nesterov: bool,
) -> None:
    """One step in place, as ``torch.optim.SGD`` (dampening 0) for each run r.

    d = g + wd_r·θ;  v ← μ_r·v + d;  θ ← θ − rate_r·(d + μ_r·v if nesterov else v).
    ``rate`` (R,) is η times the schedule's factor, 0 for masked runs; ``velocity`` is None for
    packs without momentum, ``weight_decay`` None for packs without decay.
    """
    for name, p in params.items():
        d = direction(name, p, velocity, grads, momentum=momentum, weight_decay=weight_decay,
                      nesterov=nesterov)
        p.addcmul_(d, column(-rate, p))


def direction(name: str, p: Tensor, velocity: Tensors | None, grads: Tensors, *, momentum: Tensor,
              weight_decay: Tensor | None, nesterov: bool) -> Tensor:
    """What ``update_`` subtracts, times the rate, from one tensor; the velocity takes its step."""
    d = grads[name]
    if weight_decay is not None:
        d = d + column(weight_decay, p) * p
    if velocity is not None:
        v, mu = velocity[name], column(momentum, p)
        v.mul_(mu).add_(d)
        d = d + mu * v if nesterov else v
    return d
