"""Per-example quadratics as a user's model, and their data: landscapes whose every fact is known.

Example n is (a_n, b_n) of shape (2, d), its loss ½ Σ_i (a_ni θ_i − b_ni)²: gradient
a_n (a_n θ − b_n), Hessian diag(a_n²).
"""

import numpy as np
import torch
from torch import Tensor, nn

from tests.trainables.runs import config
from trainables.datasets import Dataset
from trainables.pack import Member, Pack

MODEL = {"name": "tests.quadratics:quadratic"}


class Quadratic(nn.Module):
    """Outputs a θ − b; half the squared distance to the target is the loss."""

    def __init__(self, dim: int, start: float):
        super().__init__()
        self.place = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        roots, targets = x.unbind(-2)
        return roots * self.place - targets


def quadratic(shape: tuple[int, ...], classes: int, start: float = 1.0) -> nn.Module:
    """θ = ``start`` in each of ``classes`` = d coordinates."""
    return Quadratic(classes, start)


def examples(roots: np.ndarray, targets: np.ndarray) -> Dataset:
    """Of a and b, (N, d) each. The label's 1 in the loss's target is taken from b."""
    count, dim = roots.shape
    x = np.stack([roots, targets - np.eye(dim)[0]], axis=1)
    y = np.zeros(count, dtype=np.int64)
    return Dataset(x, y, x[:1], y[:1], dim, "0" * 64)


def run(*, start=1.0, **given):
    """A run's config with that model."""
    return config({**MODEL, "start": start}, loss="mse", **given)


def pack_of(configs, data, base_dir) -> Pack:
    """A pack on the CPU."""
    members = [Member(f"r{i}", c) for i, c in enumerate(configs)]
    return Pack(members, data, width=len(members), engine="vmap", device=torch.device("cpu"),
                base_dir=base_dir)
