"""The device's part of a step as one graph: compiled, and on CUDA captured and replayed.

One graph serves every batch size, size of the data and width, as far as the model's layers allow
(measured: as fast as a graph of its own for each shape, and a graph takes seconds to compile). A
capture replays the kernels that the graph runs anyhow, so it changes no bits.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.compiling import Specialised, compiled
from trainables.engines import SINGLE, convolves, to_visit

if TYPE_CHECKING:
    from trainables.pack import Pack, PackState
    from trainables.step import Given

Tensors = dict[str, Tensor]
Step = Callable[["Pack", "PackState", "Given"], None]
_SHARED = {"x_train", "noise", "given/step"}  # by all runs; every other tensor is (R, …)
_OF_EXAMPLES = {"x_train": 0, "noise": 0, "labels": 1, "noisy_inputs": 1}  # which dimension is N
_FREE = {"runs": 5, "batch": 7, "examples": 11}  # to trace with: any numbers that differ
_FIXED = ("x_train", "labels", "noisy_inputs", "noise", "momentum", "weight_decay",
          "gradient_noise")
_ENDED = ("outcome", "end_step", "end_loss")
_WARM_CALLS = 3  # on CUDA: before a capture, so that every library has its workspace


class StepGraph:
    """``step(pack, state, given)`` of a pack, made at its first call.

    For packed engines one graph serves all runs; else one graph of a single run is called for each
    that is alive. Of engines that are not compiled it is the step itself, for a capture. ``free``:
    the sizes that may be others at another call.
    """

    def __init__(self, step: Step):
        self._step, self._graphs = step, {}
        self._capture = _Capture()
        self.free: frozenset[str] = frozenset()

    def __call__(self, pack: "Pack", state: "PackState", at: "Given") -> None:
        kept = tensors_of(pack, state)
        given = {f"given/{n}": t for n, t in at.tensors().items()}
        every = kept | given
        if not all(t.is_contiguous() for t in every.values()):
            raise AssertionError("a step's tensors are not contiguous")  # a graph does not look
        graph = self._graph(pack, every)
        if not pack.engine.packed:
            for r in to_visit(state.alive):
                graph(*(t if n in _SHARED else t[r : r + 1] for n, t in every.items()))
        elif pack.device.type == "cuda":
            self._capture(graph, list(kept.values()), list(given.values()))
        else:
            graph(*every.values())

    def _graph(self, pack: "Pack", every: Tensors) -> Callable[..., None]:
        if not pack.engine.compiled:
            return _flat(self._step, pack, list(every))
        sizes = pack.width, every["given/index"].shape[1]
        if sizes not in self._graphs:
            self._graphs[sizes], self.free = _shared(self._step, pack, every)
        return self._graphs[sizes]


def pays(pack: "Pack") -> bool:
    """Whether the pack's steps go through a graph."""
    return pack.engine.compiled or (pack.engine.packed and pack.device.type == "cuda")


# Graphs of this process: (kind of pack, names, shapes but for the free sizes) -> graph.
MOST_KEPT = 16
_GRAPHS: dict[tuple, Callable[..., None]] = {}


def _shared(step: Step, pack: "Pack", every: Tensors
            ) -> tuple[Callable[..., None], frozenset[str]]:
    """The graph of packs of this kind, made once a process as far as sizes are free; and these."""
    fixed_width = not pack.engine.packed or pack.width == 1 or convolves(pack.trainer)
    most = frozenset(_FREE) - ({"runs"} if fixed_width else set())
    ways = (most, frozenset({"examples"}), frozenset())
    keys = [_key(pack, every, free) for free in ways]
    by_key = dict(zip(keys, ways, strict=True))
    known = next((k for k in keys if k in _GRAPHS), None)
    if known is None:
        known, graph = _made(step, pack, every, by_key)
        while len(_GRAPHS) >= MOST_KEPT:
            del _GRAPHS[next(iter(_GRAPHS))]
        _GRAPHS[known] = graph
    return _GRAPHS[known], by_key[known]


def _key(pack: "Pack", every: Tensors, free: frozenset[str]) -> tuple:
    return pack.kind(), free, *((n, *_example_shape(n, t, pack, free)) for n, t in every.items())


def tensors_of(pack: "Pack", state: "PackState") -> Tensors:
    """What a step reads or changes of a pack and its state, by name."""
    from trainables.pack import PATH_LENGTH

    found = {f"{kind}/{n}": t for kind in ("params", "velocity", "second")
             for n, t in (getattr(state, kind) or {}).items()}
    found |= {n: getattr(state, n) for n in _ENDED}
    if PATH_LENGTH in state.memory:
        found[f"memory/{PATH_LENGTH}"] = state.memory[PATH_LENGTH]
    if state.directions is not None:
        found["directions"] = state.directions
    return found | pack.step_tensors


def fixed_tensors(pack: "Pack") -> Tensors:
    """What a step reads of a pack, by name: its data, and the constants of its runs."""
    found = {n: t for n in _FIXED if (t := getattr(pack, n)) is not None}
    found |= {f"constants/{n}": t for n, t in pack.constants.items()}
    optimizer = pack.optimizer
    if optimizer.adam is not None:
        found |= {f"adam/{n}": t for n, t in vars(optimizer.adam).items()}
    if optimizer.nudge is not None:
        found["nudge/gamma"] = optimizer.nudge.gamma
    return found


def _rebuilt(pack: "Pack", every: Tensors) -> tuple["Pack", "PackState", "Given"]:
    """A pack, a state and what is given, made of other tensors of the same names."""
    from trainables.pack import PackState
    from trainables.step import Given

    def under(prefix: str) -> Tensors:
        return {n.removeprefix(prefix): t for n, t in every.items() if n.startswith(prefix)}

    twin = copy.copy(pack)
    for name in _FIXED:
        setattr(twin, name, every.get(name))
    twin.constants, optimizer = under("constants/"), pack.optimizer
    if optimizer.adam is not None:
        optimizer = replace(optimizer, adam=replace(optimizer.adam, **under("adam/")))
    if optimizer.nudge is not None:
        optimizer = replace(optimizer, nudge=replace(optimizer.nudge, **under("nudge/")))
    twin.optimizer = optimizer
    if not pack.engine.packed:
        twin.engine, twin.width = SINGLE, 1
    nothing = torch.zeros(0)
    state = PackState(
        step=1, params=under("params/"), velocity=under("velocity/") or None,
        second=under("second/") or None, measure_ge=nothing, extra_ge=nothing,
        directions=every.get("directions"), memory=under("memory/"),
        **{n: every[n] for n in _ENDED})
    return twin, state, Given(**under("given/"))


def _flat(step: Step, pack: "Pack", names: list[str]) -> Callable[..., None]:
    """The step as a function of its tensors alone."""
    def flat(*tensors: Tensor) -> None:
        step(*_rebuilt(pack, dict(zip(names, tensors, strict=True))))

    return flat


def _made(step: Step, pack: "Pack", every: Tensors, ways: dict[tuple, frozenset[str]]
          ) -> tuple[tuple, Callable[..., None]]:
    """The step on tensors like ``every`` (their first run's where runs are not packed), with as
    many sizes free as the model's layers leave so: the key of the way that it took, and the graph.
    """
    names = list(every)
    flat = _flat(step, pack, names)
    for key, free in ways.items():
        examples = [t.new_zeros(_example_shape(n, t, pack, free)) for n, t in every.items()]
        dims = [[d for d in range(t.dim()) if _size(n, d) in free]
                for n, t in zip(names, examples, strict=True)]
        try:
            return key, compiled(flat, examples, dims)
        except Specialised:
            continue
    raise AssertionError("nothing is free in the last way")


def _example_shape(name: str, like: Tensor, pack: "Pack", free: frozenset[str]) -> tuple[int, ...]:
    shape = list(like.shape)
    for dim in range(len(shape)):
        size = _size(name, dim)
        if size in free:
            shape[dim] = _FREE[size]
        elif size == "runs" and not pack.engine.packed:
            shape[dim] = 1
    return tuple(shape)


def _size(name: str, dim: int) -> str | None:
    """Which size of a step that dimension of a tensor is: runs, batch or examples."""
    if dim == 0 and name not in _SHARED:
        return "runs"
    if name == "given/index":
        return "batch"
    return "examples" if _OF_EXAMPLES.get(name) == dim else None


class _Capture:
    """Calls a graph; on CUDA, once the same tensors have come a few times, captured and replayed.

    What is given at each step is copied to where the capture reads it.
    """

    def __init__(self) -> None:
        self._kept: list[Tensor] = []
        self._calls, self._replay, self._slots = 0, None, []
        self._refused = False

    def __call__(self, graph: Callable[..., None], kept: list[Tensor],
                 given: list[Tensor]) -> None:
        same = len(kept) == len(self._kept) and all(
            a is b for a, b in zip(kept, self._kept, strict=True)) and [
                t.shape for t in given] == [t.shape for t in self._slots]
        if not same:
            self._kept, self._slots = kept, [t.clone() for t in given]
            self._calls, self._replay = 0, None
        for slot, t in zip(self._slots, given, strict=True):
            slot.copy_(t)
        if self._replay is None and self._calls >= _WARM_CALLS and not self._refused:
            self._replay = self._captured(graph)
        self._calls += 1
        if self._replay is not None:
            self._replay.replay()
        else:
            graph(*kept, *self._slots)

    def _captured(self, graph: Callable[..., None]) -> torch.cuda.CUDAGraph | None:
        torch.cuda.synchronize()
        captured = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(captured):
                graph(*self._kept, *self._slots)
        except RuntimeError:  # something in it waits for the device: it runs as it is
            self._refused = True
            return None
        return captured
