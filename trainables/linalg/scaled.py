"""The Hessian in scaled coordinates: D H D with a diagonal D of each run."""

from torch import Tensor

from trainables.linalg.krylov import Product


def scaled(product: Product, scale: Tensor) -> Product:
    """Products with D H D, D = diag(``scale``) (R, P), from those with H; the same cost."""
    return lambda vectors: scale * product(scale * vectors)


def adaptive_scale(flat: Tensor) -> Tensor:
    """|θ|, (R, P): λ_max(D H D) is the curvature that relative changes of the weights meet.

    max εᵀHε over |ε_i/θ_i| of norm 1: the second-order form of adaptive sharpness (Kwon et al.
    2021, elementwise). Reparametrising by any positive diagonal T that leaves the function as it is
    (ReLU: αW₁, W₂/α; Dinh et al. 2017) gives T⁻¹HT⁻¹ and T D: D H D does not change at all. A
    weight at exactly 0, such as a fresh bias, counts for nothing.
    """
    return flat.abs()


def adam_scale(preconditioner: Tensor) -> Tensor:
    """P^(−½), (R, P): then D H D is similar to P⁻¹H, whose largest eigenvalue meets Adam's edge.

    (2 + 2β₁)/((1 − β₁) η), 38/η at β₁ = 0.9 (Cohen et al. 2022).
    """
    return preconditioner.rsqrt()
