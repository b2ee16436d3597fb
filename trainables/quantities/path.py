"""The length of the path that training has gone, added up step by step."""

import torch
from torch import Tensor

from trainables.pack import PATH_LENGTH, Pack, PackState

MEMORY = PATH_LENGTH


def begin(pack: Pack, state: PackState) -> None:
    """A length of 0 in the state, where a monitor asks for the path and none is there yet."""
    if MEMORY not in state.memory and any(n == "geometry" for n, _ in pack.measure["monitors"]):
        zeros = torch.zeros(pack.width, dtype=torch.float64, device=pack.device)
        state.memory = {**state.memory, MEMORY: zeros}


def places(state: PackState) -> list[Tensor] | None:
    """Copies of the parameters before an update; None where no monitor asks for the path."""
    return [p.clone() for p in state.params.values()] if MEMORY in state.memory else None


def extend(state: PackState, before: list[Tensor] | None) -> None:
    """Adds |θ_{t+1} − θ_t| of each run in place, summed in float64; reads the parameters only."""
    if before is None:
        return
    moved = sum((p - q).double().flatten(1).square().sum(1)
                for p, q in zip(state.params.values(), before, strict=True))
    state.memory[MEMORY].add_(moved.sqrt())
