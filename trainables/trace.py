"""The trace of R symmetric matrices known only through their products."""

from collections.abc import Callable

import torch
from torch import Tensor


def deflated_trace(product: Callable[[Tensor], Tensor], basis: Tensor, projected_trace: Tensor,
                   probes: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) traces and their standard errors, float64.

    tr H = tr(V H Vᵀ) + tr((I − VᵀV) H (I − VᵀV)): the first term is known from the basis V
    (R, m, P; orthonormal rows, zero rows allowed), the second is the mean over the probes z
    (R, n, P; Rademacher, drawn independently of V) of ζᵀHζ with ζ = (I − VᵀV) z. Unbiased
    (Hutchinson 1989; deflated as in Hutch++, Meyer et al. 2020) given V. Where V spans the whole
    space the trace is exact and its standard error 0. Cost: n products.
    """
    spans = basis.square().sum(2).round().sum(1) >= basis.shape[2]
    forms = torch.stack([_form(product, basis, z) for z in probes.unbind(1)], dim=1)
    error = forms.std(dim=1) / forms.shape[1] ** 0.5
    rest = torch.where(spans, 0.0, forms.mean(dim=1))
    return projected_trace.to(rest) + rest, torch.where(spans, 0.0, error)


def _form(product: Callable[[Tensor], Tensor], basis: Tensor, probe: Tensor) -> Tensor:
    rest = probe - torch.einsum("rmp,rm->rp", basis, torch.einsum("rmp,rp->rm", basis, probe))
    return (rest.double() * product(rest).double()).sum(1)
