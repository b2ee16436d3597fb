"""The break-even model (Jastrzebski et al. 2020, section 3): one direction, a parabola an example.

ℓ_i(ψ) = H_i ψ²/2 with mean curvature λ and variance s² over N examples. A minibatch B of S examples
drawn without replacement makes ψ ← (1 − η H_B) ψ, so that
E ψ(t+1)²/ψ(t)² = (1 − ηλ)² + η² s² c with c = (N − S)/(S (N − 1)). Growth and decay break even
where that is 1: for s² = αλ at the curvature λ* = 2/η − αc.
"""

import math
from itertools import combinations

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.surface import curve
from trainables.streams import generator

MOST_SETS = 100_000  # minibatches up to which all are taken; beyond, a sample


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Growth of ψ² in a step, and the curvature where it breaks even, beside the formulas; x is η.

    Means over all minibatches, or where there are too many over a sample of them with its standard
    error. Needs no run.
    """
    count, curvature, alpha = options["examples"], options["curvature"], options["alpha"]
    spread = deviations(count, subject.seed)
    found = []
    for size in options["batch_size"]:
        if size > count:
            continue
        means, whole = minibatches(spread, size, options["draws"], subject.seed)
        c = share(count, size)
        for lr in options["lr"]:
            each = growths(means, lr, curvature, alpha)
            expected = growth(lr, curvature, alpha * curvature, c)
            error = 0.0 if whole else float(each.std() / len(each) ** 0.5)
            found += [
                ("break_even_growth", curve([lr], [each.mean()], f"measured_{size}")),
                ("break_even_growth", curve([lr], [expected], f"predicted_{size}")),
                ("break_even_error", curve([lr], [error], str(size))),
                ("break_even_curvature", curve([lr], [crossing(means, lr, alpha)],
                                               f"found_{size}")),
                ("break_even_curvature", curve([lr], [predicted(lr, alpha, c)],
                                               f"predicted_{size}"))]
    return found


def share(count: int, size: int) -> float:
    """c = (N − S)/(S (N − 1)): the variance of a minibatch's mean over that of an example."""
    return (count - size) / (size * (count - 1))


def growth(lr: float, curvature: float, variance: float, c: float) -> float:
    """(1 − ηλ)² + η² s² c."""
    return (1 - lr * curvature) ** 2 + lr**2 * variance * c


def predicted(lr: float, alpha: float, c: float) -> float:
    """λ* = 2/η − αc, the largest λ that is stable; NaN where even the flattest is not."""
    value = 2 / lr - alpha * c
    return value if value > 0 else math.nan


def deviations(count: int, seed: int) -> Tensor:
    """(N,) u_i of mean 0 and variance 1 over the N examples: H_i = λ + √(αλ) u_i."""
    u = torch.randn(count, generator=generator(seed, "break_even"), dtype=torch.float64)
    u = u - u.mean()
    return u / u.square().mean().sqrt()


def minibatches(spread: Tensor, size: int, draws: int, seed: int) -> tuple[Tensor, bool]:
    """Mean u of every minibatch of that size, or of ``draws`` random ones; and whether of all."""
    count = len(spread)
    if math.comb(count, size) <= MOST_SETS:
        every = torch.tensor(list(combinations(range(count), size)))
        return spread[every].mean(1), True
    source = generator(seed, f"break_even_{size}")
    return torch.stack([spread[torch.randperm(count, generator=source)[:size]].mean()
                        for _ in range(draws)]), False


def growths(means: Tensor, lr: float, curvature: float, alpha: float) -> Tensor:
    """(1 − η H_B)² of each minibatch."""
    return (1 - lr * (curvature + (alpha * curvature) ** 0.5 * means)).square()


def crossing(means: Tensor, lr: float, alpha: float) -> float:
    """The λ at which the mean growth over these minibatches passes 1 upwards; NaN if it is above
    from the start. By bisection, to 1e-12 of 2/η."""
    low, high = 1e-9 / lr, 4 / lr
    if growths(means, lr, low, alpha).mean() >= 1:
        return math.nan
    while high - low > 1e-12 / lr:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = ((middle, high) if growths(means, lr, middle, alpha).mean() < 1
                     else (low, middle))
    return (low + high) / 2
