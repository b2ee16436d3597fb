"""Per-example losses. A run's loss is their mean; nothing is ever reduced across runs."""

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
