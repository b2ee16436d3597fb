"""The updates that follow a snapshot, made on a copy: what SGD is about to do."""

from functools import cached_property

import torch
from torch import Tensor

from trainables.pack import Pack, PackState
from trainables.products import flatten
from trainables.step import update


class Ahead:
    """The next updates of every run of a pack, in the order in which training will make them.

    A function of the state alone: nothing need be kept from one step to the next, and the state
    itself is left as it is. Runs that have ended do not move.
    """

    def __init__(self, pack: Pack, state: PackState):
        self._pack, self._state = pack, state

    @cached_property
    def updates(self) -> Tensor:
        """(2, W, P) the next two updates θ_{t+1} − θ_t of all W runs of the pack; 2 S/n GE."""
        copy = self._state.copy()
        places = [flatten(copy.params).clone()]
        for _ in range(2):
            update(self._pack, copy)
            places.append(flatten(copy.params).clone())
        return torch.stack(places).diff(dim=0)
