"""Packs whose runs have mostly ended, trained at a lower rung of the ladder of widths.

Only where the width does not change a bit of any run: for dense nets on a CPU, each run's matrices
are multiplied by themselves whatever lies beside them; but the bits may depend on how they lie in
memory, so that only sizes are taken at which every run's matrices begin at a cache line. And each
narrowing is tried first: the next update is made both ways on copies, and has to be the same.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch
from torch import Tensor

from trainables.engines import convolves
from trainables.pack import PATH_LENGTH, Pack, PackState
from trainables.step import update
from trainables.stepgraph import fixed_tensors

LINE = 64  # bytes
NARROWEST = 2  # a product of one matrix takes another path than a batch of them
_BY_RUN = ("labels", "noisy_inputs", "lr", "momentum", "weight_decay", "gradient_noise",
           "fisher_penalty")
_TENSORS = ("outcome", "end_step", "end_loss", "measure_ge", "extra_ge")
_NAMED = ("params", "velocity", "second")


@contextmanager
def narrowed(pack: Pack, state: PackState) -> Iterator[tuple[Pack, PackState]]:
    """The pack and state to make updates with; at the end ``state`` has what they made.

    These are the ones given, or copies of the runs that are alive, with as many ended ones as the
    next rung of the ladder (1, 2, 4, …) asks for, where that is lower than the width.
    """
    rows = _rows(pack, state)
    if rows is None:
        yield pack, state
        return
    twin, small = _pack_of(pack, rows), _state_of(state, rows)
    batch_size = pack.calendar.batch_size(pack.calendar.locate(state.step)[0])
    key = (*rows.tolist(), batch_size)
    if key not in pack.narrowings:
        pack.narrowings[key] = _aligned(pack, batch_size) and _same_bits(
            pack, state, twin, small, rows)
    if not pack.narrowings[key]:
        yield pack, state
        return
    yield twin, small
    _give_back(state, small, rows)


def _aligned(pack: Pack, batch_size: int) -> bool:
    """Whether all matrices of each run, weights and activations, begin at a cache line."""
    sizes = {n for p in pack.initial.values() if p.dim() > 2
             for n in (p[0].numel(), batch_size * p.shape[1], batch_size * p.shape[2])}
    return all(n * pack.dtype.itemsize % LINE == 0 for n in sizes)


def _same_bits(pack: Pack, state: PackState, twin: Pack, small: PackState, rows: Tensor) -> bool:
    one, other = state.copy(), small.copy()
    update(pack, one)
    update(twin, other)
    return all(torch.equal(t[rows], getattr(other, kind)[n])
               for kind in _NAMED for n, t in (getattr(one, kind) or {}).items())


def _rows(pack: Pack, state: PackState) -> Tensor | None:
    """The runs to train, ascending; None for all."""
    if not _may_narrow(pack):
        return None
    alive = state.alive
    width = max(NARROWEST, 1 << (int(alive.sum()) - 1).bit_length())
    if width >= pack.width:
        return None
    ended = (~alive).nonzero().flatten()
    return torch.cat([alive.nonzero().flatten(), ended])[:width].sort().values


def _may_narrow(pack: Pack) -> bool:
    if pack.engine.compiled and (pack.graph is None or "runs" not in pack.graph.free):
        return False  # a graph of its own for each width would take longer than it saves
    return (pack.engine.packed and pack.device.type == "cpu" and pack.width > NARROWEST
            and pack.optimizer.nudge is None and not convolves(pack.trainer))


def _pack_of(pack: Pack, rows: Tensor) -> Pack:
    """The pack of some of the runs, as far as a step needs it; it shares the compiled graph."""
    twin = copy.copy(pack)
    for name in _BY_RUN:
        value = getattr(pack, name)
        setattr(twin, name, None if value is None else value[rows])
    twin.width = len(rows)
    twin.seeds = [pack.seeds[r] for r in rows.tolist()]
    twin.constants = {n: t[rows] for n, t in pack.constants.items()}
    if pack.optimizer.adam is not None:
        adam = {f.name: getattr(pack.optimizer.adam, f.name)[rows]
                for f in fields(pack.optimizer.adam)}
        twin.optimizer = replace(pack.optimizer, adam=replace(pack.optimizer.adam, **adam))
    twin.epoch = pack.epochs_of(twin.seeds)
    twin.step_tensors = fixed_tensors(twin)
    return twin


def _state_of(state: PackState, rows: Tensor) -> PackState:
    taken = {n: getattr(state, n)[rows] for n in _TENSORS}
    for kind in _NAMED:
        if getattr(state, kind) is not None:
            taken[kind] = {n: t[rows] for n, t in getattr(state, kind).items()}
    memory = {n: t[rows] for n, t in state.memory.items() if n == PATH_LENGTH}
    return replace(state, memory=memory, **taken)


def _give_back(state: PackState, small: PackState, rows: Tensor) -> None:
    state.step = small.step
    for name in _TENSORS:
        getattr(state, name)[rows] = getattr(small, name)
    for kind in _NAMED:
        for name, t in (getattr(state, kind) or {}).items():
            t[rows] = getattr(small, kind)[name]
    if PATH_LENGTH in small.memory:
        if PATH_LENGTH not in state.memory:
            zeros = small.memory[PATH_LENGTH].new_zeros(len(state.outcome))
            state.memory = {**state.memory, PATH_LENGTH: zeros}
        state.memory[PATH_LENGTH][rows] = small.memory[PATH_LENGTH]
