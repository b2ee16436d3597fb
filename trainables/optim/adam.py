"""Adam for a pack: one rate, one pair of decays and one epsilon a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.optim.sgd import Tensors, column


@dataclass(frozen=True)
class Adam:
    """The constants of each run, (R,) float64: 1 − β₂ is not what fp32 makes of it."""

    beta1: Tensor
    beta2: Tensor
    epsilon: Tensor

    def corrections(self, step: int) -> tuple[Tensor, Tensor]:
        """(R,) 1 − β₁ᵗ and 1 − β₂ᵗ after t = ``step`` updates."""
        return 1 - self.beta1**step, 1 - self.beta2**step


def update_(
    params: Tensors,
    first: Tensors,
    second: Tensors,
    grads: Tensors,
    constants: Adam,
    *,
    corrections: Tensor,
    rate: Tensor,
    weight_decay: Tensor | None,
) -> None:
    """The t-th step (from 1) in place, as ``torch.optim.Adam``, for each run r.

    d = g + wd·θ;  m ← β₁m + (1 − β₁)d;  v ← β₂v + (1 − β₂)d²;
    θ ← θ − rate·m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ) (Kingma & Ba 2015).
    ``rate`` (R,) is η times the schedule's factor, 0 for masked runs; ``first``, ``second`` hold
    m and v; ``corrections`` (R, 2) are 1 − β₁ᵗ and 1 − β₂ᵗ; ``weight_decay`` is L2, as in torch's
    Adam, not AdamW's.
    """
    c1, c2 = corrections.unbind(1)
    for name, p in params.items():
        d = grads[name]
        if weight_decay is not None:
            d = d + column(weight_decay, p) * p
        m, v = first[name], second[name]
        m.mul_(_like(constants.beta1, p)).add_(_like(1 - constants.beta1, p) * d)
        v.mul_(_like(constants.beta2, p)).addcmul_(_like(1 - constants.beta2, p) * d, d)
        root = (v.sqrt() / _like(c2.sqrt(), p)).add_(_like(constants.epsilon, p))
        p.addcmul_(m / root, _like(-rate.double() / c1, p))


def preconditioner(second: Tensors, constants: Adam, step: int) -> Tensors:
    """P after ``step`` updates, name -> (R, …): the update is θ ← θ − η P⁻¹ m, m not corrected.

    P = (1 − β₁ᵗ)(√(v/(1 − β₂ᵗ)) + ε): both bias corrections are in it, as in Cohen et al. 2022
    (Adaptive gradient methods at the edge of stability), where η λ₁(P⁻¹H) settles at
    (2 + 2β₁)/(1 − β₁), 38 at β₁ = 0.9. NaN at step 0, where Adam has seen no gradient.
    """
    c1, c2 = constants.corrections(step)
    return {n: (v / _like(c2, v)).sqrt().add_(_like(constants.epsilon, v)) * _like(
        c1, v) if step else torch.full_like(v, torch.nan) for n, v in second.items()}


def _like(values: Tensor, like: Tensor) -> Tensor:
    return column(values.to(like.dtype), like)
