"""The two-batch estimators of the gradient noise scale (McCandlish et al. 2018, appendix A.1) on a
random least-squares problem, whose Tr Σ and |G|² are known.

From the gradients of a large batch and of a small one that is part of it,
𝒮 = (|G_small|² − |G_big|²)/(1/B_small − 1/B_big) and
|𝒢|² = (B_big |G_big|² − B_small |G_small|²)/(B_big − B_small). Drawn with replacement they are
unbiased for Tr Σ and |G|², Σ being the covariance over the N examples (divisor N). Drawn without,
E|G_B|² = |G|² + Tr Σ (N/B − 1)/(N − 1): unbiased for N/(N − 1) Tr Σ and |G|² − Tr Σ/(N − 1). The
ratio of the means estimates B_simple = Tr Σ/|G|²; the mean of the ratios would not.
"""

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.surface import curve
from trainables.streams import generator

AT_ONCE = 2000  # draws, for the sake of memory


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Means of both estimators over many draws of batches, their exact values and z-scores.

    x is B_big; the series name the rule of drawing and B_small. Needs no run.
    """
    gradients = problem(options["examples"], options["dimension"], subject.seed)
    smalls, bigs = options["small"], [b for b in options["big"] if b <= options["examples"]]
    sizes = sorted({*(s for s in smalls if bigs and s < max(bigs)), *bigs})
    found = []
    for rule in ("with_replacement", "without_replacement"):
        squares = norms(gradients, sizes, options["draws"], rule, subject.seed) if bigs else {}
        exact = expected(gradients, rule)
        for small in smalls:
            for big in (b for b in bigs if b > small):
                pair = estimates(squares[small], squares[big], small, big)
                found += _told(pair, exact, f"{rule}_{small}", big)
    return found


def _told(pair: tuple[Tensor, Tensor], exact: tuple[float, float], series: str, big: int
          ) -> list[tuple[str, Curve]]:
    found = []
    for name, values, truth in zip(("trace", "gradient"), pair, exact, strict=True):
        mean, error = values.mean(), values.std() / len(values) ** 0.5
        found += [(f"noise_estimator_{name}", curve([big], [mean], f"{series}_mean")),
                  (f"noise_estimator_{name}", curve([big], [truth], f"{series}_exact")),
                  ("noise_estimator_z", curve([big], [(mean - truth) / error],
                                              f"{name}_{series}"))]
    scale = pair[0].mean() / pair[1].mean()
    return [*found, ("noise_estimator_scale", curve([big], [scale], f"{series}_mean")),
            ("noise_estimator_scale", curve([big], [exact[0] / exact[1]], f"{series}_exact"))]


def problem(count: int, dimension: int, seed: int) -> Tensor:
    """(N, D) per-example gradients (x_i·w − y_i) x_i at a random w; y_i a noisy linear target."""
    source = generator(seed, "noise_estimators")

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    x, off, noise = drawn(count, dimension), drawn(dimension), drawn(count)
    return (x @ off / dimension**0.5 - noise).unsqueeze(1) * x


def expected(gradients: Tensor, rule: str) -> tuple[float, float]:
    """The expectations of 𝒮 and |𝒢|²: Tr Σ and |G|², for N examples corrected as said above."""
    count, mean = len(gradients), gradients.mean(0)
    trace = float((gradients - mean).square().sum() / count)
    square = float(mean.square().sum())
    if rule == "with_replacement":
        return trace, square
    return trace * count / (count - 1), square - trace / (count - 1)


def norms(gradients: Tensor, sizes: list[int], draws: int, rule: str, seed: int
          ) -> dict[int, Tensor]:
    """Size -> (draws,) |G_B|²; the batch of each size is the beginning of the larger ones."""
    source, count = generator(seed, f"noise_estimators_{rule}"), len(gradients)
    parts: dict[int, list[Tensor]] = {size: [] for size in sizes}
    for start in range(0, draws, AT_ONCE):
        shape = min(AT_ONCE, draws - start), count
        index = (torch.randint(count, (shape[0], sizes[-1]), generator=source)
                 if rule == "with_replacement"
                 else torch.rand(shape, generator=source, dtype=torch.float64).argsort(1))
        total, done = torch.zeros(shape[0], gradients.shape[1], dtype=torch.float64), 0
        for size in sizes:
            total = total + gradients[index[:, done:size]].sum(1)
            parts[size].append((total / size).square().sum(1))
            done = size
    return {size: torch.cat(rows) for size, rows in parts.items()}


def estimates(small_squares: Tensor, big_squares: Tensor, small: int, big: int
              ) -> tuple[Tensor, Tensor]:
    """(𝒮, |𝒢|²) from |G|² of small and of large batches."""
    return ((small_squares - big_squares) / (1 / small - 1 / big),
            (big * big_squares - small * small_squares) / (big - small))
