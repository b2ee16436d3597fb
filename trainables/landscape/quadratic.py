"""SGD in a quadratic bowl whose gradient noise is its Hessian (Jastrzebski et al. 2017): how high
above the bottom does it stay?

L(z) = ½ Σ λ_i z_i²; a minibatch of S has the gradient Λ z + ξ, Cov(ξ) = Λ/S (C = H). Then
E ΔL = (η/2S) Σ λ_i/(2 − η λ_i), exactly; the limit of the stochastic differential equation is
(η/4S) Tr H, which is too low by the more, the nearer η λ₁ is to 2.
"""

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.surface import curve
from trainables.streams import generator

LEFT = 1e-4  # share of the excess loss that is still missing when counting begins


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """The mean excess loss of many chains, beside both formulas; x is η. Needs no run.

    The standard error is over chains, each averaged over its steps. An η at which the largest
    curvature is 2/η or more has no stationary state and is left out.
    """
    curvatures = torch.linspace(options["lowest"], options["highest"], options["dimension"],
                                dtype=torch.float64)
    found = []
    for lr in options["lr"]:
        if lr * curvatures.max() >= 2:
            continue
        for size in options["batch_size"]:
            exact = excess(curvatures, lr, size)
            chains = simulated(curvatures, lr, size, chains=options["chains"],
                               steps=options["steps"], seed=subject.seed)
            mean, error = float(chains.mean()), float(chains.std() / len(chains) ** 0.5)
            values = {"measured": mean, "exact": exact, "sde": limit(curvatures, lr, size)}
            found += [("quadratic_excess", curve([lr], [v], f"{name}_{size}"))
                      for name, v in values.items()]
            found += [("quadratic_error", curve([lr], [error], str(size))),
                      ("quadratic_z", curve([lr], [(mean - exact) / error], str(size)))]
    return found


def excess(curvatures: Tensor, lr: float, size: int) -> float:
    """(η/2S) Σ λ_i/(2 − η λ_i): z ← (1 − ηλ)z − ηξ has the variance (η/S)/(2 − ηλ) for every λ."""
    return float(lr / (2 * size) * (curvatures / (2 - lr * curvatures)).sum())


def limit(curvatures: Tensor, lr: float, size: int) -> float:
    """(η/4S) Tr H."""
    return float(lr / (4 * size) * curvatures.sum())


def simulated(curvatures: Tensor, lr: float, size: int, *, chains: int, steps: int,
              seed: int) -> Tensor:
    """(chains,) each chain's excess loss, the mean over ``steps`` steps after the warm-up.

    All start at the bottom. Float64; 2 draws and a few products a step, chain and dimension.
    """
    source = generator(seed, f"quadratic_{lr}_{size}")
    keep, kick = 1 - lr * curvatures, lr * (curvatures / size).sqrt()
    z = torch.zeros(chains, len(curvatures), dtype=torch.float64)
    total = torch.zeros(chains, dtype=torch.float64)
    first = warmup(curvatures, lr)
    for step in range(first + steps):
        z = keep * z - kick * torch.randn(z.shape, generator=source, dtype=torch.float64)
        if step >= first:
            total += z.square() @ curvatures
    return total / (2 * steps)


def warmup(curvatures: Tensor, lr: float) -> int:
    """Steps from the bottom until ``LEFT`` of the stationary excess loss is missing.

    After t steps mode i lacks (1 − ηλ_i)^2t of its share λ_i/(2 − ηλ_i).
    """
    share = curvatures / (2 - lr * curvatures)
    share, decay, steps = share / share.sum(), (1 - lr * curvatures).square(), 1
    while float((share * decay**steps).sum()) > LEFT:
        steps = max(steps + 1, int(steps * 1.1))
    return steps
