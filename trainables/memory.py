"""How much memory a pack takes, how much there is, and the widest pack that fits."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables import layers
from trainables.optim.optimizers import SGD
from trainables.probe import (
    BASIS_VECTORS,
    CPU_BLOCK,
    EVALUATION_BYTES,
    GPU_BLOCK,
    GRAPH_BYTES,
    runs_a_block,
    saved_bytes,
)

# Of what the machine or the GPU has in all, not of what is free at the moment: the width of a new
# pack must not depend on what else happens to run. The rest is for processes, libraries, others.
CPU_SHARE, GPU_SHARE = 0.5, 0.8
PLAIN_VECTORS = 6  # of a run that is measured without monitors: places, a gradient, its parts
TRACING = 10       # what autograd keeps of a run, while its Hessian's graphs are made on a CPU
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Need:
    """Bytes that a pack takes at its peak, as a function of its width (``of``).

    ``data``: shared by its runs. ``held``: of each run, as long as the pack trains. ``step``: of
    each run while an update is made; ``single``: then once more, where gradients are found one
    after the other. ``commit``: of each run while its state is written; ``ahead``: while the
    updates that follow a snapshot are made. ``block``: of each run that is measured at once with
    others, of which there are at most ``block_runs``; ``traced``: then once more, while graphs of
    the Hessian's products are made.
    """

    data: int
    held: int
    step: int
    single: int
    commit: int
    ahead: int
    block: int
    block_runs: int
    traced: int

    def of(self, width: int) -> int:
        """Bytes of a pack of that width: what it holds, and the most that comes on top of it."""
        step = width * self.step + self.single
        measured = min(width, self.block_runs) * self.block + self.traced
        return self.data + width * self.held + max(
            step, width * self.commit, width * self.ahead + max(measured, step))


def need(module: nn.Module, config: Mapping[str, Any], shape: tuple[int, ...], *,
         device: torch.device, packed: bool) -> Need:
    """Counted from a run's config (sizes of the data in it), its model and the inputs' shape.

    Tensors are counted, not timed or tried: parameters times what is kept of them (value, initial
    value, moments, directions), minibatches times what autograd keeps of an example
    (``saved_bytes``, on two examples) and as much again for going back, the blocks of the
    measurement. Within a factor of 2 of what was measured on CPUs; libraries come on top.
    ``packed``: as of the engine. Cost: a forward pass of two examples.
    """
    train, measure, data = config["train"], config["measure"], config["data"]
    size = 8 if config["precision"] == "fp64" else 4
    weights = size * sum(p.numel() for p in module.parameters())
    example = size * torch.Size(shape).numel()
    x, y = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
    graph = saved_bytes(layers.evaluation_form(module).eval().float(), x, y, train["loss"])
    graph = graph * size // 4
    moments = _moments(train)
    examples, tested = data["train_size"], data["test_size"]
    noisy = config["noise"]["input"] > 0
    vectors = weights * (BASIS_VECTORS if measure["monitors"] else PLAIN_VECTORS)
    graphs, on_cpu = 3 * graph * measure["set_size"], device.type == "cpu"
    block_runs = 1
    if packed:  # as in ``probe.blocks``
        block_runs = runs_a_block(
            graphs + weights * BASIS_VECTORS, CPU_BLOCK if on_cpu else GPU_BLOCK)
    largest = train["batch_size"] * max(1.0, train["batch_schedule"].get("factor", 1.0))
    batch = int(largest) * (2 * graph + 2 * example)
    return Need(
        data=example * (examples * (2 if noisy else 1) + tested),
        held=weights * (2 + moments) + examples * (8 + 8 + 1 + noisy),  # labels, order, victims
        step=weights * 3 + (batch if packed else 0),  # gradient, noise, what an update makes
        single=0 if packed else batch,
        commit=weights * 3 * (1 + moments),  # serialised, with the rows, as the file's bytes
        ahead=weights * (1 + moments + 5),   # a copy, its places, two updates
        block=max(graphs + vectors,
                  min(EVALUATION_BYTES // block_runs, graph * max(examples, tested))),
        block_runs=block_runs,
        traced=TRACING * graphs // 3 if on_cpu and graphs <= GRAPH_BYTES else 0)


def _moments(train: Mapping[str, Any]) -> int:
    """How many tensors like its parameters an optimiser keeps of a run."""
    optimizer = train.get("optimizer") or SGD
    first = train["momentum"] > 0 or optimizer["name"] == "adam"
    return first + (optimizer["name"] == "adam") + optimizer.get("k", 0)


def budget(device: torch.device, sharing: int) -> int:
    """Bytes for one of the ``sharing`` packs that run on the device at once.

    No limit on a GPU that only the workers have.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        return sys.maxsize
    if device.type == "cuda":
        whole, share = torch.cuda.get_device_properties(device).total_memory, GPU_SHARE
    else:
        whole, share = _machine(), CPU_SHARE
    return int(share * whole / max(1, sharing))


def _machine() -> int:
    """Bytes of memory that this process may hope for: the machine's, or its control group's."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP):
        text = path.read_text().strip() if path.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def widest(of: Callable[[int], int], budget: int, most: int) -> int:
    """The widest rung of 1, 2, 4, … up to ``most`` whose bytes ``of(width)`` fit; at least 1."""
    width = 1
    while 2 * width <= most and of(2 * width) <= budget:
        width *= 2
    return width


def widest_pack(module: nn.Module, config: Mapping[str, Any], shape: tuple[int, ...], *,
                device: torch.device, sharing: int, packed: bool, most: int) -> int:
    """The widest pack, at most ``most``, of runs like this one that fits its share of memory.

    ``sharing``: packs that are on this machine, or on one of its GPUs, at once.
    """
    counted = need(module, config, shape, device=device, packed=packed)
    return widest(counted.of, budget(device, sharing), most)


def release() -> None:
    """Gives back what nothing refers to any more: cycles, torch's caches, the allocator's heap."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)

