"""Per-example losses, and labels drawn from probabilities.

A run's loss is the mean of its examples'; nothing is ever reduced across runs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOSSES = ("cross_entropy", "mse")


def per_example(kind: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """(…, C) outputs and (…,) int64 labels to (…,) losses.

    cross_entropy: −log softmax(f)_y. mse: ½‖f − onehot(y)‖², summed over the outputs (so that
    the Hessian's scale is the literature's; ``torch.nn.MSELoss`` differs by the factor C/2).
    """
    if kind == "cross_entropy":
        return -F.log_softmax(outputs, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    if kind == "mse":
        classes = torch.arange(outputs.shape[-1], device=outputs.device)
        target = (labels.unsqueeze(-1) == classes).to(outputs.dtype)
        return 0.5 * (outputs - target).square().sum(-1)
    raise ValueError(f"unknown loss {kind!r}")


def inverted(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """(…,) classes drawn by inverting the distribution function, ``uniform`` (…,) on [0, 1).

    The first class whose cumulated probability, of (…, C) added up in float64, exceeds it.
    """
    below = probabilities.double().cumsum(-1) <= uniform.unsqueeze(-1)
    return below.sum(-1).clamp(max=probabilities.shape[-1] - 1)
