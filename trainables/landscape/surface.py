"""The loss of one run's model and data at any parameters: values and gradients of many points."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.choice import choose, work_of
from trainables.curves import Curve
from trainables.engines import ENGINES, vectorises
from trainables.errors import InputError
from trainables.landscape import Subject
from trainables.linalg.products import flatten, unflatten
from trainables.losses import per_example
from trainables.pack import Member, Pack
from trainables.probe import EVALUATION_BYTES, GRAPH_BYTES, graph_bytes
from trainables.sampling import epoch_indices

CPU_POINTS, GPU_POINTS = 8, 64  # at once
POINT_BYTES = 1 << 30  # their parameters


@dataclass(frozen=True)
class Heights:
    """(K,) float64 on the host: mean losses and accuracies of K points; test ones if asked for."""

    train_loss: Tensor
    train_accuracy: Tensor
    test_loss: Tensor | None = None
    test_accuracy: Tensor | None = None


class Surface:
    """L(θ) of the first run: its training set with its noise, its loss, its precision.

    Points are (K, P), in the order of the model's parameters. Evaluated are they with dropout off
    and BatchNorm with each point's own statistics of the calibration batch (as a run's snapshots).
    A point's numbers depend on no other point, but for rounding.
    """

    def __init__(self, subject: Subject):
        self.pack = Pack(
            [Member("probe", subject.configs[0])], subject.data, width=1, engine="loop",
            device=subject.device, base_dir=subject.base_dir)
        self.pack.engine = ENGINES[engine_of(self.pack)[0]]
        self.dim, self.train_size = self.pack.parameters, self.pack.train_size
        most = CPU_POINTS if self.pack.device.type == "cpu" else GPU_POINTS
        self._width = max(1, min(most, POINT_BYTES // (self.dim * self.pack.dtype.itemsize)))

    @property
    def initial(self) -> Tensor:
        """(P,) the first run's parameters at step 0."""
        return flatten(self.pack.initial)[0]

    def point(self, weights: Mapping[str, Tensor]) -> Tensor:
        """(P,) the parameters of a state_dict, in this run's precision."""
        parts = []
        for name, like in self.pack.initial.items():
            if name not in weights or weights[name].shape != like.shape[1:]:
                raise InputError(f"the weights have no parameter {name} of shape "
                                 f"{tuple(like.shape[1:])}", key="probes",
                                 fix="name runs of one model only")
            parts.append(torch.as_tensor(weights[name]).to(like).flatten())
        return torch.cat(parts)

    def _train(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x, y, shared = self.pack.examples(index, slice(0, 1))
        return (x if shared else x[0]), y[0]

    def _outputs(self, points: Tensor, stats: dict, x: Tensor) -> Tensor:
        like = {n: p.expand(len(points), *p.shape[1:]) for n, p in self.pack.initial.items()}
        params = unflatten(points, like)
        return self.pack.engine.outputs(self.pack.evaluator, params, stats, x, shared=True)

    def _statistics(self, points: Tensor) -> dict[str, Tensor]:
        """Buffers (K, …); BatchNorm's are to be set by a forward in train mode."""
        return {n: b.expand(len(points), *b.shape[1:]).clone()
                for n, b in self.pack.statistics.items()}

    @torch.no_grad()
    def _calibrated(self, points: Tensor) -> dict[str, Tensor]:
        stats = self._statistics(points)
        if self.pack.has_batch_norm:
            self.pack.evaluator.train()
            self._outputs(points, stats, self._train(self.pack.calibration_set)[0])
            self.pack.evaluator.eval()
        return stats

    def heights(self, points: Tensor, *, test: bool = True) -> Heights:
        """Losses and accuracies of (K, P) points; K thirds of a GE, and as much again a test set
        of the training set's size."""
        found = [self._block(part, test=test) for part in points.split(self._width)]
        columns = [torch.cat(c).cpu() for c in zip(*found, strict=True)]
        return Heights(*columns)

    def losses(self, points: Tensor) -> Tensor:
        """(K,) training losses, float64 on the host; K/3 GE."""
        return self.heights(points, test=False).train_loss

    @torch.no_grad()
    def _block(self, points: Tensor, *, test: bool) -> list[Tensor]:
        stats, pack = self._calibrated(points), self.pack
        found = self._means(points, stats, self.train_size, self._train)
        if test:
            found += self._means(points, stats, pack.test_size,
                                 lambda i: (pack.x_test[i], pack.y_test[i]))
        return found

    def _means(self, points: Tensor, stats: dict, size: int, examples) -> list[Tensor]:
        loss, right = torch.zeros(
            2, len(points), dtype=torch.float64, device=self.pack.device)
        each = max(1, EVALUATION_BYTES // (graph_bytes(self.pack) * len(points)))
        for part in torch.arange(size, device=self.pack.device).split(each):
            x, y = examples(part)
            y = y.expand(len(points), -1)
            out = self._outputs(points, stats, x)
            loss += per_example(self.pack.train["loss"], out, y).double().sum(1)
            right += (out.argmax(-1) == y).double().sum(1)
        return [loss / size, right / size]

    def gradients(self, points: Tensor, index: Tensor) -> Tensor:
        """(K, P) gradients of each point's mean loss over the training examples ``index`` (m,).

        BatchNorm uses the batch's own statistics, dropout is off. K m/N GE.
        """
        fit = max(1, GRAPH_BYTES // (graph_bytes(self.pack) * len(index)))
        width = min(self._width, fit)
        each = len(index) if self.pack.has_batch_norm else max(
            1, GRAPH_BYTES // (graph_bytes(self.pack) * width))
        return torch.cat([sum(self._gradient(p, i, len(index)) for i in index.split(each))
                          for p in points.split(width)])

    def _gradient(self, points: Tensor, index: Tensor, size: int) -> Tensor:
        leaf = points.detach().requires_grad_()
        x, y = self._train(index)
        self.pack.evaluator.train(self.pack.has_batch_norm)
        out = self._outputs(leaf, self._statistics(points), x)
        self.pack.evaluator.eval()
        loss = per_example(self.pack.train["loss"], out, y.expand(len(points), -1)).sum() / size
        return torch.autograd.grad(loss, leaf)[0]


def engine_of(pack: Pack) -> tuple[str, int]:
    """(engine, width limit) for packs like this one, by the rule table."""
    x, y = pack.batch(pack.calibration_set[None, :2], slice(0, 1))
    one = {n: p[:1] for n, p in pack.initial.items()}
    stats = {n: b[:1] for n, b in pack.statistics.items()}
    vectorised = vectorises(pack.evaluator, one, stats, x, y, pack.train["loss"])
    work = work_of(pack.evaluator, x[0], vectorises=vectorised)
    return choose(work, batch_size=pack.batch_size, device=pack.device)


def batches(surface: Surface, seed: int, steps: int, size: int | None) -> Iterator[Tensor]:
    """``steps`` minibatches (m,) of training indices, epoch by epoch; all of it where no size."""
    size = min(size or surface.train_size, surface.train_size)
    per_epoch = surface.train_size // size
    for step in range(steps):
        epoch, batch = divmod(step, per_epoch)
        if batch == 0:
            drawn = epoch_indices([seed], epoch, train_size=surface.train_size, batch_size=size)[0]
        yield drawn[batch].to(surface.pack.device)


def curve(x: Tensor | Iterable[float], value: Tensor | Iterable[float], series: str = "") -> Curve:
    """The curve (R = 1) of n values."""
    x, value = (torch.as_tensor(t if isinstance(t, Tensor) else list(t),
                                dtype=torch.float64).flatten().cpu() for t in (x, value))
    return Curve(x, value[None], series)
