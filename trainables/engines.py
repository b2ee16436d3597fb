"""How the runs of a pack are evaluated together. One interface, several ways, equal to rounding.

A model is a function (params, buffers, x) -> outputs of one run. An engine evaluates it, or the
gradient of its mean loss, for all runs at once. A ``compiled`` engine does the same, and has the
whole step of training fused into one graph (``stepgraph``). Which suits which shape: ``choice``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trainables.losses import per_example
from trainables.packed import PackedConv2d

Tensors = dict[str, Tensor]


class Engine(Protocol):
    """Evaluates R runs: params and buffers carry the run dimension in front."""

    name: str
    packed: bool    # whether all runs are evaluated at once, or one after the other
    compiled: bool  # whether a step of training is one compiled graph

    def outputs(self, module: nn.Module, params: Tensors, buffers: Tensors, x: Tensor,
                *, shared: bool) -> Tensor:
        """(R, n, C) outputs for x (n, …) if ``shared`` by all runs, else (R, n, …).

        Differentiable in params; a module in train mode updates ``buffers`` in place.
        """

    def gradients(self, module: nn.Module, params: Tensors, buffers: Tensors, x: Tensor,
                  y: Tensor, loss: str, alive: Tensor) -> tuple[Tensor, Tensors]:
        """(R,) mean losses of each run's own batch and their gradients; cost R gradients.

        Runs that are not ``alive`` may be skipped (loss 0, gradient 0).
        """


@dataclass(frozen=True)
class VmapEngine:
    """torch.func.vmap over the runs: one kernel call serves the whole pack."""

    name: str = "vmap"
    packed: bool = True
    compiled: bool = False

    def outputs(self, module, params, buffers, x, *, shared):
        def one(p, b, x):
            return functional_call(module, (p, b), (x,))

        return vmap(one, in_dims=(0, 0, None if shared else 0))(params, buffers, x)

    def gradients(self, module, params, buffers, x, y, loss, alive):  # noqa: ARG002
        # Plain autograd around the vmapped forward: the same gradients as vmap(grad), at about
        # two thirds of its time, because nothing is traced through functorch twice.
        leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
        losses = per_example(
            loss, self.outputs(module, leaves, buffers, x, shared=False), y).mean(1)
        grads = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
        return losses.detach(), dict(zip(leaves, grads, strict=True))


@dataclass(frozen=True)
class LoopEngine:
    """One run after another: for what cannot be vectorised, and where packing does not pay."""

    name: str = "loop"
    packed: bool = False
    compiled: bool = False

    def outputs(self, module, params, buffers, x, *, shared):
        runs = next(iter(params.values())).shape[0]
        return torch.stack([
            functional_call(module, (_row(params, r), _row(buffers, r)), (x if shared else x[r],))
            for r in range(runs)
        ])

    def gradients(self, module, params, buffers, x, y, loss, alive):
        grads = {n: torch.zeros_like(p) for n, p in params.items()}
        losses = torch.zeros(len(alive), dtype=x.dtype, device=x.device)
        for r in to_visit(alive):
            losses[r], found = _gradient(
                module, _row(params, r), _row(buffers, r), x[r], y[r], loss)
            for n, g in found.items():
                grads[n][r] = g
        return losses, grads


@dataclass(frozen=True)
class SingleEngine(LoopEngine):
    """A loop over a pack of one, without asking whether it is alive: what is compiled of a loop."""

    def gradients(self, module, params, buffers, x, y, loss, alive):  # noqa: ARG002
        x = x[0]
        if x.dim() == 4:  # the layout in which convolutions of a compiled step are fastest
            x = x.contiguous(memory_format=torch.channels_last)
        value, found = _gradient(module, _row(params, 0), _row(buffers, 0), x, y[0], loss)
        return value[None], {n: g[None] for n, g in found.items()}


def _gradient(module: nn.Module, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor,
              loss: str) -> tuple[Tensor, Tensors]:
    """The mean loss of one run's batch, and its gradient."""
    leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
    value = per_example(loss, functional_call(module, (leaves, buffers), (x,)), y).mean()
    grads = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return value.detach(), dict(zip(leaves, grads, strict=True))


def _row(tensors: Tensors, r: int) -> Tensors:
    return {n: t[r] for n, t in tensors.items()}


SINGLE: Engine = SingleEngine()
ENGINES: Mapping[str, Engine] = {e.name: e for e in (
    VmapEngine(), LoopEngine(),
    VmapEngine("vmap-compiled", compiled=True), LoopEngine("loop-compiled", compiled=True))}


def to_visit(alive: Tensor) -> Sequence[int]:
    """The runs that a loop evaluates: on a CPU those ``alive`` (R,); elsewhere all, as to ask would
    wait for the device."""
    on_cpu = alive.device.type == "cpu"
    return alive.nonzero().flatten().tolist() if on_cpu else range(len(alive))


def convolves(module: nn.Module) -> bool:
    """Whether there are convolutions anywhere in it."""
    return any(isinstance(m, nn.modules.conv._ConvNd | PackedConv2d) for m in module.modules())


def vectorises(module: nn.Module, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor,
               loss: str) -> bool:
    """Whether the vmap engine can train this model at all (tried on one batch)."""
    alive = torch.ones(len(y), dtype=torch.bool)
    try:
        VmapEngine().gradients(module, params, buffers, x, y, loss, alive)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False
    return True
