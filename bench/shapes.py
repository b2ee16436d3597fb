"""Shapes that engines are timed at: a net, its input, a batch size, an optimiser; made-up data.

Needs torch and numpy alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables import models
from trainables.datasets import Dataset
from trainables.pack import Member, Pack

ROOT = Path(__file__).parents[1]
CLASSES = 10
DIGITS, FLAT, IMAGES, SMALL_IMAGES = (64,), (784,), (3, 32, 32), (1, 8, 8)


@dataclass(frozen=True)
class Shape:
    """One training task; ``train`` overrides plain SGD's options."""

    name: str
    model: Mapping[str, Any]
    input: tuple[int, ...]
    batch_size: int
    train: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 1500
    precision: str = "fp32"

    @property
    def convolves(self) -> bool:
        """Whether its inputs are images."""
        return len(self.input) == 3

    @property
    def title(self) -> str:
        """Name and batch size."""
        return f"{self.name}, S = {self.batch_size}"


def _mlp(*widths: int, **options: Any) -> Mapping[str, Any]:
    return {"name": "mlp", "widths": list(widths), **options}


MLP = _mlp(64, 64)
DIGITS_CNN = {"name": "simple_cnn", "width": 16, "dense": 128}
SIMPLE_CNN, RESNET = {"name": "simple_cnn"}, {"name": "resnet8"}
ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
# The first six are those that have a bar of their own.
SHAPES = (
    *(Shape("MLP 64-64-64-10", MLP, DIGITS, s) for s in (8, 32, 128)),
    *(Shape("digits CNN", DIGITS_CNN, SMALL_IMAGES, s) for s in (8, 32, 128)),
    *(Shape("MLP 784-128-10", _mlp(128), FLAT, s) for s in (32, 128)),
    Shape("MLP 64-(64×6)-10", _mlp(*[64] * 6), DIGITS, 32),
    Shape("MLP 64-512-512-10", _mlp(512, 512), DIGITS, 64),
    Shape("MLP, momentum", MLP, DIGITS, 32, {"momentum": 0.9}),
    Shape("MLP, Adam", MLP, DIGITS, 32, {"optimizer": ADAM, "lr": 1e-3}),
    Shape("MLP, batch norm", _mlp(64, 64, batch_norm=True), DIGITS, 32),
    Shape("MLP, dropout", _mlp(64, 64, dropout=0.2), DIGITS, 32),
    *(Shape("CIFAR CNN", SIMPLE_CNN, IMAGES, s, examples=500) for s in (8, 32, 128)),
    *(Shape("CIFAR ResNet-8", RESNET, IMAGES, s, examples=500) for s in (8, 32, 128)),
)
QUICK = SHAPES[:5]


def dataset(shape: Shape) -> Dataset:
    """Random inputs around class centres: learnable; which does not matter to any timing."""
    return _made_up(shape.input, shape.examples)


@lru_cache(maxsize=2)
def _made_up(shape: tuple[int, ...], n: int) -> Dataset:
    source = np.random.default_rng(0)
    y = source.integers(CLASSES, size=n + CLASSES)
    centres = source.normal(size=(CLASSES, *shape)).astype(np.float32)
    x = source.standard_normal((n + CLASSES, *shape), dtype=np.float32)
    x += centres[y]
    return Dataset(x[:n], y[:n], x[n:], y[n:], CLASSES, "0" * 64)


def config(shape: Shape, seed: int = 0, **train: Any) -> dict[str, Any]:
    """A run's whole config: long, never measured."""
    full = {"lr": 0.01, "batch_size": shape.batch_size, "epochs": 10_000, "steps": None,
            "until": None, "loss": "cross_entropy", "momentum": 0.0, "nesterov": False,
            "weight_decay": 0.0, "lr_schedule": {"name": "constant"},
            "sampling": "without_replacement", "max_loss": 1e4, "optimizer": {"name": "sgd"},
            "batch_schedule": {"name": "constant"}, "fisher_penalty": 0.0, "fisher_every": 1,
            **shape.train, **train}
    return {
        "data": {"name": "made up", "seed": 0}, "model": models.resolve(shape.model),
        "train": full, "noise": {"label": 0.0, "input": 0.0, "gradient": 0.0},
        "measure": {"when": {"early": None, "final": False, "initial": False}, "set_size": None,
                    "monitors": []},
        "seed": seed, "precision": shape.precision,
    }


def pack(shape: Shape, engine: str, width: int, *, device: str = "cpu",
         runs: Sequence[Mapping[str, Any]] = ()) -> Pack:
    """The runs of those configs; by default ``width`` runs that differ in seed and rate."""
    rate = config(shape)["train"]["lr"]
    runs = runs or [config(shape, seed=i, lr=rate * (1 + i / 256)) for i in range(width)]
    return Pack([Member(f"r{i}", c) for i, c in enumerate(runs)], dataset(shape), width=width,
                engine=engine, device=torch.device(device), base_dir=ROOT)
