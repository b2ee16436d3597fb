"""The optimisers of a pack: their constants, and which update a step makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.optim import adam, nudged, sgd
from trainables.optim.adam import Adam
from trainables.optim.nudged import Nudge

if TYPE_CHECKING:
    from trainables.pack import Pack, PackState

SGD: Mapping[str, Any] = {"name": "sgd"}


@dataclass(frozen=True)
class Optimizer:
    """The optimiser that the runs of a pack share, its scalars one a run."""

    name: str
    adam: Adam | None = None
    nudge: Nudge | None = None


def place(configs: Sequence[Mapping[str, Any]], device: torch.device) -> Optimizer:
    """The optimiser of the padded runs' configs."""
    options = [c["train"].get("optimizer") or SGD for c in configs]

    def each(key: str) -> Tensor:
        return torch.tensor([o[key] for o in options], dtype=torch.float64, device=device)

    name = options[0]["name"]
    if name == "adam":
        return Optimizer(name, Adam(each("beta1"), each("beta2"), each("epsilon")))
    if name == "nudged_sgd":
        shared = {n: options[0][n] for n in ("k", "every_epochs", "tolerance")}
        return Optimizer(name, nudge=Nudge(each("gamma"), **shared))
    return Optimizer(name)


def advance(pack: "Pack", state: "PackState", grads: sgd.Tensors, rate: Tensor,
            corrections: Tensor | None) -> None:
    """One update of all runs in place; ``rate`` (R,) is 0 where a run stands still.

    ``corrections`` (R, 2): Adam's of this update.
    """
    decay = pack.weight_decay if pack.has_decay else None
    if pack.optimizer.adam is not None:
        adam.update_(state.params, state.velocity, state.second, grads, pack.optimizer.adam,
                     corrections=corrections, rate=rate, weight_decay=decay)
        return
    plain = {"rate": rate, "momentum": pack.momentum, "weight_decay": decay,
             "nesterov": pack.train["nesterov"]}
    if pack.optimizer.nudge is None:
        sgd.update_(state.params, state.velocity, grads, **plain)
        return
    nudged.update_(state.params, state.velocity, grads, state.directions,
                   pack.optimizer.nudge.gamma, **plain)
