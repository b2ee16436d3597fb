"""Which engine trains a model, how wide its packs are, and whether compiling its step pays.

Rules from measurements, not timings: a choice is a function of the model, the shapes and the kind
of device alone, so that it is the same however often a sweep is planned.
"""

import os
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainables.engines import convolves

# On one core of a server CPU, fp32, 2026: seconds a step that a compiled graph saves whatever its
# size, and more for each floating-point operation (measured on dense nets and small convolutions).
SAVED_S, SAVED_S_PER_FLOP = 8e-4, 8e-12
SAVED_LOOP_S = 1.2e-4  # of one run's step, where runs are trained one after another
SMALL_DENSE, LARGE_DENSE = 30e3, 100e3  # operations of one example, about twice the weights
SMALL_CONVOLUTIONS = 50e6  # operations of a run's forward pass, up to which packing them pays
LOAD_S = 1.0  # of a graph that is in the cache, in a new process
COMPILE_S, COMPILE_S_PER_TENSOR = 6.0, 1.0  # of a graph that is in no cache yet


# Functions with products that are not counted by their arguments alone.
_COMPOUND = frozenset((
    "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "dot", "inner", "addmm", "addmv",
    "addbmm", "baddbmm", "chain_matmul", "einsum", "tensordot", "bilinear", "lstm", "gru",
    "rnn_tanh", "rnn_relu", "multi_head_attention_forward", "scaled_dot_product_attention",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"))


@dataclass(frozen=True)
class Work:
    """What a model asks of a step: floating-point operations of one example's forward pass.

    ``tensors``: how many parameters it has, each counted once whatever its size.
    """

    flops: int
    tensors: int
    convolves: bool
    vectorises: bool


def work_of(module: nn.Module, x: torch.Tensor, *, vectorises: bool) -> Work:
    """Counted on the examples x (n, …)."""
    with _Products() as products, torch.no_grad():
        module(x)
    total = products.flops if products.plain else _counted(module, x)
    return Work(total // len(x), len(list(module.parameters())), convolves(module), vectorises)


class _Products(TorchFunctionMode):
    """Counts the products of dense and convolutional layers: what torch's own counter counts, but
    that imports torch's compiler, a second of work. ``plain``: whether there were no others."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.plain = 0, True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        if name in ("linear", "conv1d", "conv2d", "conv3d"):
            weight = (*args, *(kwargs or {}).values())[1]
            self.flops += 2 * out.numel() * weight[0].numel()
        elif name in _COMPOUND:
            self.plain = False
        return out


def _counted(module: nn.Module, x: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops()


def choose(work: Work, *, batch_size: int, device: torch.device) -> tuple[str, int]:
    """(engine, width limit) before any thought of compiling.

    On CPUs packing pays where a run's own kernels are too small to fill a core: dense nets always
    (measured: widths beyond these gain nothing, at large batches they lose), convolutions where
    images and batches are small. On accelerators packing always pays until the kernels fill it.
    """
    if not work.vectorises:
        return "loop", 4
    if device.type != "cpu":
        return "vmap", 64 if batch_size <= 256 else 16
    if work.convolves:
        small = work.flops * batch_size <= SMALL_CONVOLUTIONS
        return ("vmap", 16) if small else ("loop", 4)
    if work.flops > SMALL_DENSE:
        return "vmap", 16
    return "vmap", 64 if batch_size <= 16 else 32 if batch_size <= 64 else 16


def compiled(work: Work, engine: str, *, batch_size: int, device: torch.device) -> str | None:
    """The engine that trains such packs with compiled steps; None where that cannot be.

    On CPUs, dense nets whose weights fill a core's cache are trained one after another then (a
    single compiled step is as fast as a packed one is a run, and faster at large batches).
    """
    if not work.vectorises:
        return None
    large = work.flops > (LARGE_DENSE if batch_size > 16 else 4 * LARGE_DENSE)
    looped = engine == "loop" or (device.type == "cpu" and not work.convolves and large)
    return "loop-compiled" if looped else "vmap-compiled"


def saving(work: Work, *, engine: str, width: int, batch_size: int) -> float:
    """Seconds that a step of the whole pack takes less when compiled."""
    flops = 3 * work.flops * batch_size * width
    fixed = SAVED_S if engine == "vmap" else SAVED_LOOP_S * width
    return fixed + SAVED_S_PER_FLOP * flops


def cost(work: Work) -> float:
    """Seconds that making the graph takes where it is in no cache."""
    return COMPILE_S + COMPILE_S_PER_TENSOR * work.tensors


def can_compile() -> bool:
    """Whether there is a C++ compiler here: without one the plain engines serve."""
    return any(shutil.which(c) for c in (os.environ.get("CXX"), "g++", "clang++", "c++") if c)
