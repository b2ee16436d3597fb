"""The length of the path that training has gone, added up step by step."""

import torch
from torch import Tensor

from trainables.pack import Pack, PackState

MEMORY = "path_length"  # its name in PackState.memory, (W,) float64


def places(pack: Pack, state: PackState) -> list[Tensor] | None:
    """Copies of the parameters before an update; None where no monitor asks for the path."""
    if not any(name == "geometry" for name, _ in pack.measure["monitors"]):
        return None
    return [p.clone() for p in state.params.values()]


def extend(state: PackState, before: list[Tensor] | None) -> None:
    """Adds |θ_{t+1} − θ_t| of each run, summed in float64; reads the parameters only.

    The memory is replaced, never changed in place: looking ahead on a copy of the state leaves
    the original's length alone.
    """
    if before is None:
        return
    moved = sum((p - q).double().flatten(1).square().sum(1)
                for p, q in zip(state.params.values(), before, strict=True))
    length = state.memory.get(MEMORY, torch.zeros_like(moved)) + moved.sqrt()
    state.memory = {**state.memory, MEMORY: length}
