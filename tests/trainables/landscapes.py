"""Subjects of probes, and a data set whose linear least-squares landscape is known."""

import numpy as np
import torch

from tests.trainables.runs import HERE, config, fresh_model
from trainables.datasets import Dataset
from trainables.landscape import Subject

LINEAR = {"name": "linear"}
MLP = {"name": "mlp", "width": 7, "depth": 2, "activation": "tanh"}


def subject(configs, data, *, weights=None, seed=0) -> Subject:
    """The runs at the given state_dicts, by default at their initial weights."""
    if weights is None:
        weights = [fresh_model(c, data).state_dict() for c in configs]
    return Subject(tuple(configs), tuple(weights), data, seed, torch.device("cpu"), HERE)


def bowl(dim=5, classes=3) -> Dataset:
    """±√D e_j: of the linear model's mse the Hessian is the identity, L = L* + ½‖θ − θ*‖²."""
    x = (np.sqrt(dim) * np.concatenate([np.eye(dim), -np.eye(dim)])).astype(np.float64)
    y = np.arange(2 * dim) % classes
    return Dataset(x, y, x, y, classes, "0" * 64)


def bowl_minimum(data):
    """θ* (P,) and L* of ``bowl``: weights YᵀX/N, biases the classes' shares."""
    x, y = torch.tensor(data.x_train), torch.eye(data.classes).double()[data.y_train]
    weight, bias = y.T @ x / len(x), y.mean(0)
    loss = 0.5 * (x @ weight.T + bias - y).square().sum(1).mean()
    return torch.cat([weight.flatten(), bias]), float(loss)


def linear_weights(cfg, data, flat):
    """The state_dict of the linear model with those parameters."""
    like = fresh_model(cfg, data).state_dict()
    parts = flat.split([t.numel() for t in like.values()])
    return {n: p.view(t.shape) for (n, t), p in zip(like.items(), parts, strict=True)}


def quantity(found, name, series=""):
    """x (n,) and value (n,) of one curve."""
    return next((c.x, c.value[0]) for q, c in found if q == name and c.series == series)


def random_points(count, dim, seed=0):
    """(count, dim) float64 normals."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed),
                       dtype=torch.float64)


def mse(**options):
    """The linear model's config with mse."""
    return config(LINEAR, loss="mse", **options)
