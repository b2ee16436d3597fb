"""What the monitors of one snapshot share, for a block of a pack's runs: lazy, computed once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from trainables import streams
from trainables.ahead import Ahead
from trainables.costs import GE_FORWARD, GE_GRADIENT
from trainables.eigen import hessian_eigenpairs
from trainables.gradients import Minibatches, minibatch_gradients
from trainables.hessian import curvature_of
from trainables.linalg.lanczos import Eigenpairs
from trainables.linalg.products import Curvature, flatten
from trainables.linalg.tangent import Tangents
from trainables.losses import per_example
from trainables.pack import Pack, PackState

Tensors = dict[str, Tensor]

# Bytes that the graphs of one block may take, and its most runs: constants, since blocks are part
# of the numerics. More runs a block gain nothing on a CPU once its kernels are busy (measured at
# 1,500 examples: equal cost a run from 4 runs on), and whole blocks of ended runs are skipped.
GRAPH_BYTES, EVALUATION_BYTES = 3 << 30, 256 << 20
CPU_BLOCK, GPU_BLOCK = 8, 64
BASIS_VECTORS = 64  # of each run, that monitors are expected to hold at once


class Probe:
    """The runs ``runs`` of a pack at one step. R is the number of runs in the block.

    Measured is the mean loss over the measurement set, each run's own noise included, dropout
    off, BatchNorm with the statistics of the fixed calibration batch. ``ahead`` knows the updates
    that follow.
    """

    def __init__(self, pack: Pack, state: PackState, runs: slice, ahead: Ahead | None = None):
        self.pack, self.step, self.runs, self._state = pack, state.step, runs, state
        self.params = {n: p[runs].detach() for n, p in state.params.items()}
        self.seeds = pack.seeds[runs]
        self.ge = torch.zeros(len(self.seeds), dtype=torch.float64)
        self.remembered: Tensors = {}
        self._memory = {n: m[runs] for n, m in state.memory.items()}
        self._ahead = ahead or Ahead(pack, state)
        self._minibatches: dict[tuple, Minibatches] = {}
        self._reasons: list[tuple[str, Tensor, str]] = []
        self._owner = ""

    def spend(self, ge: float | Tensor) -> None:
        """Counts gradient equivalents, the same for all runs or (R,)."""
        self.ge += torch.as_tensor(ge, dtype=torch.float64)

    def explain(self, column: str, where: Tensor | bool, reason: str) -> None:
        """Where (R,) true, ``column`` is null in the tables, and the notes say why."""
        where = torch.as_tensor(where).cpu().expand(len(self.seeds))
        self._reasons.append((column, where, reason))

    def known(self, column: str, run: int, value: float) -> float | None:
        """The value, or None where it was explained away."""
        return None if any(c == column and bool(w[run]) for c, w, _ in self._reasons) else value

    def notes(self, run: int) -> str | None:
        """The reasons of that run, in words; None where there are none."""
        told = dict.fromkeys(f"{c}: {r}" for c, w, r in self._reasons if bool(w[run]))
        return "; ".join(told) or None

    def recall(self, name: str) -> Tensor | None:
        """(R, …) what was remembered under that name at the snapshot before, zero where nothing."""
        return self._memory.get(self._owner + name)

    def remember(self, name: str, value: Tensor) -> None:
        """Keeps (R, …) for the next snapshot, in the state: the same shape at every snapshot.

        ValueError for anything else.
        """
        before = self._memory.get(self._owner + name)
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if not shape or shape[0] != len(self.seeds):
            what = type(value).__name__ if shape is None else f"a tensor of shape {shape}"
            raise ValueError(f"`{name}` to remember is {what}, not ({len(self.seeds)}, …)")
        if before is not None and before.shape != value.shape:
            raise ValueError(f"`{name}` to remember has the shape {shape}, and had "
                             f"{tuple(before.shape)} at the snapshot before")
        self.remembered[self._owner + name] = value.detach().to(self.pack.device)

    @contextmanager
    def owned_by(self, monitor: str) -> Iterator[None]:
        """While a user's monitor measures: its memories and random numbers are its own."""
        self._owner, before = monitor and f"{monitor} ", self._owner
        try:
            yield
        finally:
            self._owner = before

    @property
    def size(self) -> int:
        """Examples of the measurement set."""
        return len(self.pack.measure_set)

    @cached_property
    def flat(self) -> Tensor:
        """(R, P) parameters."""
        return flatten(self.params)

    @cached_property
    def initial(self) -> Tensor:
        """(R, P) parameters at step 0."""
        return flatten({n: p[self.runs] for n, p in self.pack.initial.items()})

    @cached_property
    def buffers(self) -> Tensors:
        """BatchNorm statistics of the calibration batch under the present parameters."""
        stats = {n: b[self.runs].clone() for n, b in self.pack.statistics.items()}
        if self.pack.has_batch_norm:
            x, _, shared = self.pack.examples(self.pack.calibration_set, self.runs)
            self.pack.evaluator.train()
            with torch.no_grad():
                self.pack.engine.outputs(
                    self.pack.evaluator, self.params, stats, x, shared=shared)
            self.pack.evaluator.eval()
            self.spend(GE_FORWARD * len(self.pack.calibration_set) / self.size)
        return stats

    def _outputs(self, params: Tensors, x: Tensor, *, shared: bool) -> Tensor:
        return self.pack.engine.outputs(
            self.pack.evaluator, params, self.buffers, x, shared=shared)

    def evaluate_train(self) -> tuple[Tensor, Tensor]:
        """(R,) mean loss and accuracy over the whole training set as the run sees it.

        A forward pass, but where the Hessian's graphs have made it already; 1/3 GE of that set.
        """
        known = self.__dict__.get("curvature")
        if isinstance(known, Tangents) and self.size == self.pack.train_size:
            self.spend(GE_FORWARD)
            labels = self.pack.labels[self.runs]
            return tuple(_mean(v) for v in (known.losses, known.outputs.argmax(-1) == labels))
        index = torch.arange(self.pack.train_size, device=self.pack.device)
        return self._evaluate(index, lambda i: self.pack.examples(i, self.runs))

    def evaluate_test(self) -> tuple[Tensor, Tensor]:
        """(R,) mean loss and accuracy over the whole test set."""
        def examples(i: Tensor) -> tuple[Tensor, Tensor, bool]:
            return self.pack.x_test[i], self.pack.y_test[i].expand(len(self.seeds), -1), True

        return self._evaluate(torch.arange(self.pack.test_size, device=self.pack.device), examples)

    @torch.no_grad()
    def _evaluate(self, index: Tensor, examples) -> tuple[Tensor, Tensor]:
        loss = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.pack.device)
        right = torch.zeros_like(loss)
        each = max(1, EVALUATION_BYTES // (graph_bytes(self.pack) * len(self.seeds)))
        for part in index.split(each):
            x, y, shared = examples(part)
            out = self._outputs(self.params, x, shared=shared)
            loss += per_example(self.pack.train["loss"], out, y).double().sum(1)
            right += (out.argmax(-1) == y).double().sum(1)
        self.spend(GE_FORWARD * len(index) / self.size)
        return loss / len(index), right / len(index)

    @cached_property
    def curvature(self) -> Curvature | Tangents:
        """Gradient and Hessian products on the measurement set; 1 GE, then 2 GE a product."""
        found = curvature_of(self)
        self.spend(GE_GRADIENT)
        return found

    @cached_property
    def gradient(self) -> Tensor:
        """(R, P) gradient of the mean loss over the measurement set.

        It comes with the minibatch gradients or the Hessian products, whichever are there.
        """
        if "curvature" not in self.__dict__ and self._minibatches:
            return next(iter(self._minibatches.values())).mean
        return self.curvature.gradient

    def minibatches(self, count: int, size: int | None = None) -> Minibatches:
        """Gradients of ``count`` minibatches that partition the measurement set; 1 GE.

        Each has ``size`` examples (default ⌊n/count⌋), the same in every run and at every
        snapshot; what is left of the set enters the full gradient alone. ``count`` is lowered to
        the batches that there are.
        """
        size = max(1, self.size // count) if size is None else min(size, self.size)
        count = min(count, self.size // size)
        if (count, size) not in self._minibatches:
            self._minibatches[count, size] = minibatch_gradients(self, count, size)
            self.spend(GE_GRADIENT)
        return self._minibatches[count, size]

    def gradient_of(self, params: Tensors, index: Tensor) -> Tensor:
        """(R, P) gradient at ``params`` of the mean loss over the training examples ``index``.

        ``index`` (m,) or (R, m), positions in the training set; m/n GE, for the caller to count.
        """
        leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
        losses = self.losses_of(leaves, index).mean(1)
        return flatten(dict(zip(leaves, torch.autograd.grad(
            losses.sum(), list(leaves.values()), materialize_grads=True), strict=True)))

    def losses_of(self, params: Tensors, index: Tensor) -> Tensor:
        """(R, m) losses at ``params`` of the training examples ``index`` (m,) or (R, m).

        Differentiable in ``params``; the statistics of BatchNorm stay those of the snapshot. m/n
        thirds of a GE, for the caller to count.
        """
        if index.dim() == 1:
            x, y, shared = self.pack.examples(index, self.runs)
        else:
            x, y = self.pack.batch(index, self.runs)
            shared = False
        return per_example(self.pack.train["loss"], self._outputs(params, x, shared=shared), y)

    @cached_property
    def eigenpairs(self) -> Eigenpairs:
        """The top eigenpairs of the Hessian: as many as the sweep's most demanding monitor asks.

        Its tolerance and limits are the options of the monitor ``spectrum``, or their defaults.
        """
        with self.owned_by(""):
            return hessian_eigenpairs(self)

    @cached_property
    def updates(self) -> Tensor:
        """(2, R, P) the two updates θ_{t+1} − θ_t that follow; 2 S/n GE by plain SGD."""
        self.spend(self._ahead.ge[self.runs])
        return self._ahead.updates[:, self.runs]

    @cached_property
    def preconditioner(self) -> Tensor | None:
        """(R, P) Adam's P, both bias corrections in it (NaN at step 0); None without Adam."""
        found = self.pack.preconditioner(self._state)
        return None if found is None else flatten({n: p[self.runs] for n, p in found.items()})

    def signs(self, stream: str, count: int) -> Tensor:
        """(R, count, P) random signs, a function of (run seed, stream, step)."""
        return streams.rademacher(
            self.seeds, self._owner + stream, self.step, (count, self.flat.shape[1]), self.flat)

    def normals(self, stream: str, count: int) -> Tensor:
        """(R, count, P) standard normals, a function of (run seed, stream, step)."""
        return streams.normal(
            self.seeds, self._owner + stream, self.step, (count, self.flat.shape[1]), self.flat)


def _mean(each: Tensor) -> Tensor:
    return each.double().sum(1) / each.shape[1]


def blocks(pack: Pack) -> list[slice]:
    """The blocks in which a pack is measured: as many runs as their graphs and vectors fit."""
    each = 1
    if pack.engine.packed:
        graphs = 3 * graph_bytes(pack) * len(pack.measure_set)
        vectors = BASIS_VECTORS * pack.parameters * torch.finfo(pack.dtype).bits // 8
        most = CPU_BLOCK if pack.device.type == "cpu" else GPU_BLOCK
        each = runs_a_block(graphs + vectors, min(most, pack.width))
    return [slice(a, min(a + each, pack.width)) for a in range(0, pack.width, each)]


def runs_a_block(each: int, most: int) -> int:
    """How many runs, a power of two of at most ``most``, whose ``each`` bytes fit a block."""
    return 1 << max(0, min(GRAPH_BYTES // each, most).bit_length() - 1)


def graph_bytes(pack: Pack) -> int:
    """Bytes that autograd keeps for one example of one run (counted once, on two examples)."""
    known = getattr(pack, "_graph_bytes", None)
    if known is None:
        x, y, _ = pack.examples(pack.measure_set[:2], slice(0, 1))
        x = x if pack.noisy_inputs is None else x[0]
        known = pack._graph_bytes = saved_bytes(pack.evaluator, x, y[0], pack.train["loss"])
    return known


def saved_bytes(module: nn.Module, x: Tensor, y: Tensor, loss: str) -> int:
    """Bytes that autograd keeps for one example, beside parameters; counted on x (n, …), y (n,)."""
    kept: dict[int, int] = {}

    def count(t: Tensor) -> Tensor:
        kept[t.data_ptr()] = t.numel() * t.element_size()
        return t.detach()  # t itself may be what its own node has made: a cycle that nobody frees

    params = {n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()}
    owned = {p.data_ptr() for p in params.values()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        out = torch.func.functional_call(module, params, (x,))
        per_example(loss, out, y).sum()
    return max(1024, sum(b for ptr, b in kept.items() if ptr not in owned) // len(x))
