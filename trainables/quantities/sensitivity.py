"""How the loss after t steps of SGD depends on the training inputs (Arpit et al. 2017, section 3).

The derivative of a whole training by its inputs (Maclaurin et al. 2015): of the loss itself, and
of every update in which an input took part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.losses import per_example
from trainables.optim.sgd import column
from trainables.pack import Pack
from trainables.probe import GRAPH_BYTES, Probe, graph_bytes
from trainables.schedules import lr_factor

Tensors = dict[str, Tensor]


def gini(values: Tensor) -> Tensor:
    """(R,) Gini coefficients of (R, m) values ≥ 0: 0 all equal, 1 − 1/m one holds everything.

    G = 2 Σ_i i·v_(i) / (m Σ v) − (m + 1)/m, v ascending. NaN where all are zero.
    """
    v = values.double().sort(dim=1).values
    m = v.shape[1]
    rank = torch.arange(1, m + 1, dtype=v.dtype, device=v.device)
    return 2 * (rank * v).sum(1) / (m * v.sum(1)) - (m + 1) / m


def times(steps: int, every: int) -> list[int]:
    """The t at which the loss is taken: multiples of ``every`` up to ``steps``, at least one."""
    return list(range(every, steps + 1, every)) or [steps]


def cost(steps: int, every: int, seen: Callable[[int], float], parts: int) -> float:
    """GE of ``loss_sensitivity``; ``parts`` is the number of classes kept apart, or 1.

    ``seen(t)`` are the examples of the first t steps over those of the measurement set: t S/n.
    """
    at = times(steps, every)
    return 2 * seen(at[-1]) + sum(parts * (2 * seen(t) + 2 / 3) + 1 / 3 for t in at)


def not_plain(pack: Pack, runs: slice) -> list[tuple[str, Tensor]]:
    """In words, what makes the updates of the runs other than those unrolled, and (R,) of which."""
    every = torch.ones_like(pack.lr[runs], dtype=torch.bool)
    name = pack.optimizer.name
    return [(f"it unrolls plain SGD, and the run {what}", where) for what, where in (
        ("has momentum", pack.momentum[runs] != 0),
        (f"is trained by {name}", every if name != "sgd" else ~every),
        ("has a Fisher penalty", pack.fisher_penalty[runs] != 0),
        ("has gradient noise", pack.gradient_noise[runs] != 0))]


@dataclass
class _Adjoint:
    """dL/dθ_s and dL/dx of one part of one loss, as the recursion goes back."""

    params: list[Tensor]
    inputs: Tensor


@dataclass(frozen=True)
class Unrolled:
    """Plain SGD from the probe's parameters, over the run's own batches, inputs to vary.

    θ_{s+1} = θ_s − η_s (∇L_s(θ_s; x) + w θ_s), L_s the mean loss of the minibatch that the run
    sees s steps from now, in its training form (dropout with the run's masks, BatchNorm over the
    batch), w its weight decay. Of other updates than that ``not_plain`` tells.
    """

    probe: Probe
    index: Tensor   # (m,) the inputs to vary, positions in the training set
    inputs: Tensor = field(init=False)  # (R, m, …) as each run sees them
    place: Tensor = field(init=False)   # (N,) their number by position; −1 for other inputs

    def __post_init__(self):
        pack, index = self.probe.pack, self.index
        place = torch.full((pack.train_size,), -1, device=index.device)
        place[index] = torch.arange(len(index), device=index.device)
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "inputs", pack.batch(
            index.expand(len(self.probe.seeds), -1), self.probe.runs)[0])

    def batch(self, index: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Examples (R, b, …) and labels at positions (R, b), differentiable in ``inputs``.

        By indexing, whose derivative adds up repeated examples in a fixed order on a GPU, as that
        of ``gather`` does not.
        """
        x, y = self.probe.pack.batch(index, self.probe.runs)
        place = self.place[index]
        runs = torch.arange(len(inputs), device=inputs.device)[:, None]
        varied = inputs[runs, place.clamp(min=0)]
        inside = (place >= 0).view(*place.shape, *(1,) * (x.dim() - 2))
        return torch.where(inside, varied, x), y

    def rate(self, s: int) -> Tensor:
        """(R,) η_s, by the schedule; beyond the run's end that of its last step."""
        pack = self.probe.pack
        step = min(self.probe.step + s, max(pack.steps - 1, 0))
        factor = lr_factor(pack.train["lr_schedule"], step, pack.calendar, pack.steps)
        return (pack.lr * factor)[self.probe.runs]

    def gradients(self, params: Tensors, s: int, inputs: Tensor, *, graph: bool) -> list[Tensor]:
        """∇L_s(θ) for each run, in the order of ``params``, which require gradients."""
        pack, runs, step = self.probe.pack, self.probe.runs, self.probe.step + s
        epoch, number = pack.calendar.locate(step)
        x, y = self.batch(pack.epoch(epoch)[runs, number], inputs)
        buffers = {n: b[runs].clone() for n, b in pack.dropout_keys(step).items()}
        out = pack.engine.outputs(pack.trainer, params, buffers, x, shared=False)
        losses = per_example(pack.train["loss"], out, y).mean(1)
        return list(torch.autograd.grad(losses.sum(), list(params.values()), create_graph=graph,
                                        materialize_grads=True))

    def path(self, steps: int) -> list[Tensors]:
        """θ_0 … θ_steps; steps·S/n GE."""
        places = [self.probe.params]
        decay = self.probe.pack.weight_decay[self.probe.runs]
        for s in range(steps):
            leaves = _leaves(places[-1])
            grads = self.gradients(leaves, s, self.inputs, graph=False)
            places.append({
                n: (p - column(self.rate(s), p) * (g + column(decay, p) * p)).detach()
                for (n, p), g in zip(leaves.items(), grads, strict=True)})
        return places

    def back(self, params: Tensors, s: int, adjoints: Sequence[_Adjoint]) -> None:
        """Adjoints of θ_{s+1} to those of θ_s, in place; S/n GE, and 2 S/n each."""
        leaves, inputs = _leaves(params), self.inputs.detach().requires_grad_()
        grads = self.gradients(leaves, s, inputs, graph=True)
        rate, decay = self.rate(s), self.probe.pack.weight_decay[self.probe.runs]
        live = [i for i, g in enumerate(grads) if g.requires_grad]
        for adjoint in adjoints:
            weights = [-column(rate, a) * a for a in adjoint.params]
            found = torch.autograd.grad(
                [grads[i] for i in live], [*leaves.values(), inputs], [weights[i] for i in live],
                retain_graph=True, materialize_grads=True)
            adjoint.params = [a + column(decay, w) * w + f for a, w, f in zip(
                adjoint.params, weights, found[:-1], strict=True)]
            adjoint.inputs += found[-1]

    def losses(self, params: Tensors, classes: int) -> list[_Adjoint]:
        """Adjoints of the mean loss over the measurement set, by ``classes`` of it (0: as one).

        Those of single classes are their parts of that mean. BatchNorm keeps the statistics of
        the snapshot.
        """
        probe, pack = self.probe, self.probe.pack
        found = [_Adjoint([torch.zeros_like(p) for p in params.values()],
                          torch.zeros_like(self.inputs)) for _ in range(max(1, classes))]
        each = max(1, GRAPH_BYTES // (3 * graph_bytes(pack) * len(probe.seeds)))
        for chunk in pack.measure_set.split(each):
            leaves, inputs = _leaves(params), self.inputs.detach().requires_grad_()
            x, y = self.batch(chunk.expand(len(probe.seeds), -1), inputs)
            out = pack.engine.outputs(pack.evaluator, leaves, probe.buffers, x, shared=False)
            losses = per_example(pack.train["loss"], out, y) / probe.size
            for i, adjoint in enumerate(found):
                part = losses * (y == i) if classes else losses
                *to_params, to_inputs = torch.autograd.grad(
                    part.sum(), [*leaves.values(), inputs], retain_graph=True,
                    materialize_grads=True)
                adjoint.params = [a + b for a, b in zip(adjoint.params, to_params, strict=True)]
                adjoint.inputs += to_inputs
        return found


def _leaves(params: Tensors) -> Tensors:
    return {n: p.detach().requires_grad_() for n, p in params.items()}


def loss_sensitivity(probe: Probe, index: Tensor, *, steps: int, every: int,
                     classes: int = 0) -> tuple[Tensor, Tensor | None]:
    """(R, m) ḡ_x = mean_t ‖∂L_t/∂x‖_1 of the training inputs ``index`` (m,), float64.

    L_t is the mean loss over the measurement set after t steps of ``Unrolled`` SGD from the
    probe's parameters; the derivative includes x's part in the updates and, where x belongs to the
    set, in L_t itself. t is every ``every``-th of ``steps``. With ``classes`` C also (R, C, m), the
    same of the part of L_t that comes from class i; else None. Reverse mode with one minibatch's
    graph at a time: memory is that of T copies of the parameters and of one (P + m D) for each t
    and class. Cost: ``cost``, quadratic in T.
    """
    unrolled = Unrolled(probe, index)
    at = times(steps, every)
    path = unrolled.path(at[-1])
    adjoints: list[list[_Adjoint]] = []
    for s in reversed(range(at[-1])):
        if s + 1 in at:
            adjoints.append(unrolled.losses(path[s + 1], classes))
        unrolled.back(path[s], s, [a for of_time in adjoints for a in of_time])
    size = [_norms(sum(a.inputs for a in of_time)) for of_time in adjoints]
    whole = torch.stack(size).mean(0)
    if not classes:
        return whole, None
    apart = [torch.stack([_norms(a.inputs) for a in of_time], dim=1) for of_time in adjoints]
    return whole, torch.stack(apart).mean(0)


def _norms(inputs: Tensor) -> Tensor:
    return inputs.double().flatten(2).abs().sum(2)
