"""The toy landscape of n-wedges (Fort & Jastrzebski 2019): how many dimensions does a cut need?

In R^D, L(θ) = min_w ‖θ on the D − n short coordinates of wedge w‖: the low set is a union of
n-dimensional coordinate planes. A random affine cut of dimension d meets one iff d + n ≥ D.
"""

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.surface import curve
from trainables.streams import generator

MOMENTUM = 0.9


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """Lowest losses on cuts of every dimension 0…D: exact (least) and by descent (found).

    Nested cuts θ₀ + M z through θ₀ ~ N(0, 1)^D, M uniform. Values are relative to L(θ₀), means
    over draws. Needs no run.
    """
    size, found = options["dimension"], []
    for n in options["wedge"]:
        if n >= size:
            continue
        losses = {"least": [], "found": []}
        for number in range(options["draws"]):
            origin, matrix, short = toy(size, n, options["wedges"], subject.seed, number)
            losses["least"].append(least(origin, matrix, short))
            losses["found"].append(descend(origin, matrix, short, options["steps"]))
        found.append(("wedge_threshold", curve([n], [size - n], "theory")))
        for name, rows in losses.items():
            ratio = torch.stack([r / r[0] for r in rows]).mean(0)
            found += [("wedge_loss", curve(range(size + 1), ratio, f"{name}_{n}")),
                      ("wedge_threshold", curve([n], [threshold(ratio, options["tolerance"])],
                                                name))]
    return found


def toy(size: int, n: int, wedges: int, seed: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """θ₀ (D,), an orthonormal M (D, D), and the short coordinates (W, D − n), float64."""
    source = generator(seed, f"wedge_{size}_{n}", number)
    drawn = torch.randn(size, size + 1, generator=source, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn[:, 1:])
    short = torch.stack([torch.randperm(size, generator=source)[: size - n]
                         for _ in range(wedges)])
    return drawn[:, 0], q * r.diagonal().sign(), short


def least(origin: Tensor, matrix: Tensor, short: Tensor) -> Tensor:
    """(D + 1,) exact minima of L on θ₀ + span(first d columns of M), d = 0…D.

    On one wedge with rows S that is the least-squares residual of S M_d z = −S θ₀. One complete QR
    of S M serves all d: the residual² is the sum of (q_iᵀ S θ₀)² over i > d, zero from D − n on.
    """
    rows = []
    for s in short:
        q = torch.linalg.qr(matrix[s])[0]  # (D − n, D − n)
        squares = (q.T @ origin[s]).square()
        tails = squares.flip(0).cumsum(0).flip(0).sqrt()
        rows.append(torch.nn.functional.pad(tails, (0, len(origin) + 1 - len(tails))))
    return torch.stack(rows).amin(0)


def descend(origin: Tensor, matrix: Tensor, short: Tensor, steps: int) -> Tensor:
    """(D + 1,) L after heavy-ball descent from z = 0 on L²/2 (rate 1: its curvature is ≤ 1)."""
    size = len(origin)
    inside = torch.ones(size + 1, size, dtype=torch.float64).tril(-1)  # row d: the first d
    mask = torch.zeros(len(short), size, dtype=torch.float64).scatter_(1, short, 1.0)
    z, velocity = torch.zeros(2, size + 1, size, dtype=torch.float64)

    def nearest(z: Tensor) -> tuple[Tensor, Tensor]:
        theta = origin + z @ matrix.T
        squares, wedge = (theta.square() @ mask.T).min(1)
        return squares.sqrt(), theta * mask[wedge]

    for _ in range(steps):
        velocity = MOMENTUM * velocity - (nearest(z)[1] @ matrix) * inside
        z = z + velocity
    return nearest(z)[0]


def threshold(ratio: Tensor, tolerance: float) -> float:
    """The smallest d whose loss, relative to d = 0, is below the tolerance; NaN if there is none.
    """
    below = (ratio < tolerance).nonzero()
    return float(below[0]) if len(below) else float("nan")
