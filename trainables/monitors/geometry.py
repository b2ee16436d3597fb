"""Where a run stands on its path: its length, the coming updates, and each layer by itself."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.linalg.products import unflatten
from trainables.probe import Probe
from trainables.quantities import path


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Any]:
    """Path length, the coming updates, and each parameter's norm and distance from its start.

    path_length = Σ_t |θ_{t+1} − θ_t| over all steps made, momentum and weight decay included;
    init_distance / path_length is the straightness of the path. update_norm = |u_0| and
    update_cos = ⟨u_0, u_1⟩ / |u_0||u_1| of the two updates that follow: on a quadratic, −1 along a
    direction that oscillates, 0 where minibatch noise rules. Norms in float64. Cost: 2 S/n GE for
    the updates, and a copy of the parameters at every training step.
    """
    first, second = probe.updates.double()
    norms = first.norm(dim=1), second.norm(dim=1)
    zero = (norms[0] == 0) | (norms[1] == 0)
    probe.explain("update_cos", zero, "one of the coming two updates is zero")
    length = probe.recall(path.MEMORY)
    found: dict[str, Any] = {
        "path_length": torch.zeros_like(norms[0]) if length is None else length.clone(),
        "update_norm": norms[0],
        "update_cos": (first * second).sum(1) / (norms[0] * norms[1]),
    }
    if options["layers"]:
        moved = unflatten(probe.flat.double() - probe.initial.double(), probe.params)
        found["layer_norm"] = layer_norms(probe.params)
        found["layer_distance"] = layer_norms(moved)
    return found


def layer_norms(tensors: Mapping[str, Tensor]) -> list[Curve]:
    """The (R,) Frobenius norm of each tensor (R, …), float64: a series each, x its place."""
    return [
        Curve(torch.tensor([float(i)]), t.double().flatten(1).norm(dim=1, keepdim=True), name)
        for i, (name, t) in enumerate(tensors.items())]
