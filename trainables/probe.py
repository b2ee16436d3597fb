"""What the monitors of one snapshot share, for a block of a pack's runs: lazy, computed once."""

from functools import cached_property

import torch
from torch import Tensor

from trainables import streams
from trainables.losses import per_example
from trainables.pack import Pack
from trainables.products import Curvature, flatten

Tensors = dict[str, Tensor]

# Gradient equivalents: a gradient is a forward and two backward-sized passes; a product on a
# retained graph runs backward through both.
GE_FORWARD, GE_GRADIENT, GE_PRODUCT = 1 / 3, 1.0, 2.0
# Bytes that the graphs of one block may take, and its most runs: constants, since blocks are part
# of the numerics. More runs a block gain nothing on a CPU once its kernels are busy (measured at
# 1,500 examples: equal cost a run from 4 runs on), and whole blocks of ended runs are skipped.
GRAPH_BYTES, EVALUATION_BYTES = 3 << 30, 256 << 20
CPU_BLOCK, GPU_BLOCK = 8, 64


class Probe:
    """The runs ``runs`` of a pack at one step. R is the number of runs in the block.

    Measured is the mean loss over the measurement set, each run's own noise included, dropout
    off, BatchNorm with the statistics of the fixed calibration batch.
    """

    def __init__(self, pack: Pack, params: Tensors, step: int, runs: slice):
        self.pack, self.step, self.runs = pack, step, runs
        self.params = {n: p[runs].detach() for n, p in params.items()}
        self.seeds = pack.seeds[runs]
        self.ge = torch.zeros(len(self.seeds), dtype=torch.float64)

    def spend(self, ge: float | Tensor) -> None:
        """Counts gradient equivalents, the same for all runs or (R,)."""
        self.ge += torch.as_tensor(ge, dtype=torch.float64)

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
        """(R,) mean loss and accuracy over the whole training set as the run sees it."""
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
    def curvature(self) -> Curvature:
        """Gradient and Hessian products on the measurement set; 1 GE, then 2 GE a product."""
        def loss_sums(params: Tensors, chunk: Tensor) -> Tensor:
            x, y, shared = self.pack.examples(chunk, self.runs)
            out = self._outputs(params, x, shared=shared)
            return per_example(self.pack.train["loss"], out, y).sum(1)

        each = max(1, GRAPH_BYTES // (3 * graph_bytes(self.pack) * len(self.seeds)))
        self.spend(GE_GRADIENT)
        return Curvature(loss_sums, self.params, self.pack.measure_set.split(each), self.size)

    @property
    def gradient(self) -> Tensor:
        """(R, P) gradient of the mean loss over the measurement set."""
        return self.curvature.gradient

    def signs(self, stream: str, count: int) -> Tensor:
        """(R, count, P) random signs, a function of (run seed, stream, step)."""
        return streams.rademacher(
            self.seeds, stream, self.step, (count, self.flat.shape[1]), self.flat)

    def normals(self, stream: str, count: int) -> Tensor:
        """(R, count, P) standard normals, a function of (run seed, stream, step)."""
        return streams.normal(
            self.seeds, stream, self.step, (count, self.flat.shape[1]), self.flat)


def blocks(pack: Pack) -> list[slice]:
    """The blocks in which a pack is measured: as many runs at once as their graphs fit."""
    if pack.engine.name == "loop":
        each = 1
    else:
        fit = GRAPH_BYTES // (3 * graph_bytes(pack) * len(pack.measure_set))
        most = CPU_BLOCK if pack.device.type == "cpu" else GPU_BLOCK
        each = 1 << max(0, min(int(fit), most, pack.width).bit_length() - 1)
    return [slice(a, min(a + each, pack.width)) for a in range(0, pack.width, each)]


def graph_bytes(pack: Pack) -> int:
    """Bytes that autograd keeps for one example of one run (counted once, on two examples)."""
    known = getattr(pack, "_graph_bytes", None)
    if known is None:
        known = pack._graph_bytes = _count_saved_bytes(pack)
    return known


def _count_saved_bytes(pack: Pack) -> int:
    kept: dict[int, int] = {}

    def count(t: Tensor) -> Tensor:
        kept[t.data_ptr()] = t.numel() * t.element_size()
        return t

    x, y, _ = pack.examples(pack.measure_set[:2], slice(0, 1))
    x = x if pack.noisy_inputs is None else x[0]
    params = {n: p.detach().clone().requires_grad_() for n, p in pack.evaluator.named_parameters()}
    owned = {p.data_ptr() for p in params.values()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        out = torch.func.functional_call(pack.evaluator, params, (x,))
        per_example(pack.train["loss"], out, y[0]).sum()
    return max(1024, sum(b for ptr, b in kept.items() if ptr not in owned) // 2)
