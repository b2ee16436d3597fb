"""The updates that follow a snapshot, made on a copy: what SGD is about to do."""

from functools import cached_property

import torch
from torch import Tensor

from trainables.linalg.products import flatten
from trainables.pack import Pack, PackState
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
        """(2, W, P) the next two updates θ_{t+1} − θ_t of all W runs of the pack; ``ge`` GE."""
        return self._made[0]

    @cached_property
    def ge(self) -> Tensor:
        """(W,) float64, what making them costs: 2 S/n, and what the optimiser adds to it."""
        return self._made[1]

    @cached_property
    def _made(self) -> tuple[Tensor, Tensor]:
        pack, state, copy = self._pack, self._state, self._state.copy()
        places = [flatten(copy.params).clone()]
        for _ in range(2):
            update(pack, copy)
            places.append(flatten(copy.params).clone())
        seen = pack.calendar.examples(copy.step) - pack.calendar.examples(state.step)
        return (torch.stack(places).diff(dim=0),
                seen / len(pack.measure_set) + copy.extra_ge - state.extra_ge)
