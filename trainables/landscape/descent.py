"""Optimisers of a tensor of coordinates: torch.optim's arithmetic without its imports (seconds)."""

import torch
from torch import Tensor


class Adam:
    """Kingma & Ba 2015 with bias correction, β = (0.9, 0.999), ε = 1e-8; elementwise."""

    def __init__(self, place: Tensor, lr: float):
        self.place, self.lr, self.steps = place, lr, 0
        self.mean, self.square = torch.zeros_like(place), torch.zeros_like(place)

    def step(self, grad: Tensor) -> None:
        """Moves ``place``, in place."""
        self.steps += 1
        self.mean.lerp_(grad, 0.1)
        self.square.lerp_(grad.square(), 0.001)
        root = (self.square / (1 - 0.999**self.steps)).sqrt() + 1e-8
        self.place -= self.lr / (1 - 0.9**self.steps) * self.mean / root


class HeavyBall:
    """v ← μ v + g, z ← z − η v, as torch.optim.SGD; elementwise."""

    def __init__(self, place: Tensor, lr: float, momentum: float):
        self.place, self.lr, self.momentum = place, lr, momentum
        self.velocity = torch.zeros_like(place)

    def step(self, grad: Tensor) -> None:
        """Moves ``place``, in place."""
        self.velocity.mul_(self.momentum).add_(grad)
        self.place -= self.lr * self.velocity
