"""How the Hessian of a block of runs is had: of all at once, or of one run after another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.func import functional_call

from trainables.linalg.products import Curvature
from trainables.linalg.tangent import Split, Tangents, Untraceable, split
from trainables.losses import per_example
from trainables.pack import Pack

if TYPE_CHECKING:
    from trainables.probe import Probe

Tensors = dict[str, Tensor]

# Parameters times examples from which a run's own kernels fill a core: then runs one by one need
# two thirds of the time of all at once, and none for those that are done (measured with MLPs).
FILLING = 2_000_000


MOST_KEPT = 16
_SPLITS: dict[tuple, Split | None] = {}  # of this process, by kind of pack and size of the set


def curvature_of(probe: "Probe") -> Curvature | Tangents:
    """Gradient and Hessian products on the measurement set; 1 GE, then 2 GE a product.

    A function of the pack alone which of the two it is: the runs one by one (``Tangents``) on a
    CPU, where the graphs fit and can be had, and a run's own kernels fill the core.
    """
    from trainables.probe import GRAPH_BYTES, graph_bytes

    pack, runs = probe.pack, len(probe.seeds)
    each = max(1, GRAPH_BYTES // (3 * graph_bytes(pack) * runs))
    chunks = pack.measure_set.split(each)
    found = _split_of(pack) if len(chunks) == 1 and _one_by_one(pack) else None
    if found is None:
        return Curvature(
            lambda params, chunk: probe.losses_of(params, chunk).sum(1), probe.params, chunks,
            probe.size)
    x, y, shared = pack.examples(pack.measure_set, probe.runs)
    data = [_data(probe.buffers, r, x if shared else x[r], y[r]) for r in range(runs)]
    return Tangents(found, probe.params, data)


def _one_by_one(pack: Pack) -> bool:
    if pack.device.type != "cpu":
        return False
    return not pack.engine.packed or pack.parameters * len(pack.measure_set) >= FILLING


def _data(buffers: Tensors, r: int, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (x, y.clone(), *(b[r].clone() for b in buffers.values()))


def _split_of(pack: Pack) -> Split | None:
    """The graphs of packs of this kind, made once a process; None where the model forbids it."""
    key = (pack.kind(), len(pack.measure_set), pack.x_train.shape[1:])
    if key not in _SPLITS:
        while len(_SPLITS) >= MOST_KEPT:
            del _SPLITS[next(iter(_SPLITS))]
        _SPLITS[key] = _traced(pack)
    return _SPLITS[key]


def _traced(pack: Pack) -> Split | None:
    names, buffers = list(pack.initial), list(pack.statistics)

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor, *stats: Tensor
               ) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, params, strict=True)), dict(zip(buffers, stats, strict=True))
        outputs = functional_call(pack.evaluator, given, (x,))
        return per_example(pack.train["loss"], outputs, y), outputs

    x, y, shared = pack.examples(pack.measure_set, slice(0, 1))
    data = _data(pack.statistics, 0, x if shared else x[0], y[0])
    try:
        return split(losses, [p[0].clone() for p in pack.initial.values()], data)
    except Untraceable:
        return None
