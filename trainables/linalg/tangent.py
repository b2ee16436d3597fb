"""Hessian products run by run, by a graph that holds only what depends on the vector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from trainables.linalg.products import Tensors
from trainables.shortage import is_out_of_memory

aten = torch.ops.aten
Losses = Callable[..., tuple[Tensor, Tensor]]

_PASSED_ON = (aten.detach.default, aten.alias.default)
_ZEROS = (aten.zeros_like.default, aten.zeros.default, aten.new_zeros.default)
NARROW = 16  # columns
_FRESH = (aten.mm.default, aten.addmm.default, aten.addmm_.default, aten.add.Tensor)


class Untraceable(Exception):
    """The function cannot be had as a graph that is right for other parameters too."""


@dataclass(frozen=True)
class Split:
    """The mean of one run's losses as two graphs.

    ``base``: (parameters…, data…) to (losses (m,), outputs, gradient (P,), kept…). ``tangent``:
    (kept…, v (P,)) to H v (P,).
    """

    base: Callable[..., tuple[Tensor, ...]]
    tangent: Callable[..., Tensor]


def split(losses: Losses, params: Sequence[Tensor], data: Sequence[Tensor]) -> Split:
    """Traces ``losses(params, *data)``, which returns ((m,) losses, outputs), of one run.

    A double backward (Pearlmutter 1994) in which nothing is done twice that is the same for all
    vectors: a product is two passes over the tangents, without those over the values. Valid for
    all parameters and data of these shapes. Untraceable where the graph would draw random numbers,
    and where it is not right at other parameters, such as that of a model that branches on values.
    Cost: a few gradients and products; the imports take a second.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def joint(*args: Tensor) -> tuple[Tensor, ...]:
        return _both(losses, args[: len(params)], args[len(params):-1], args[-1])

    size = sum(p.numel() for p in params)
    vector = torch.linspace(-1, 1, size, dtype=params[0].dtype, device=params[0].device)
    try:
        traced = make_fx(joint)(*params, *data, vector)
        if any(map(_is_mutable, traced.graph.nodes)):  # parts are left out only of pure graphs
            traced = make_fx(torch.func.functionalize(traced))(*params, *data, vector)
    except Exception as error:  # a model may be anybody's code
        if is_out_of_memory(error):
            raise
        raise Untraceable(str(error)) from error
    for node in traced.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Untraceable(f"{node.target} draws random numbers")
        if _is_mutable(node):
            raise Untraceable(f"{node.target} changes a tensor in place")
    _simplify(traced.graph)
    found = _parted(traced)
    _check(found, joint, [1.25 * p.flip(0) if p.dim() else 1.25 * p for p in params], data, vector)
    return found


def _is_mutable(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _both(losses: Losses, params: Sequence[Tensor], data: Sequence[Tensor], vector: Tensor
          ) -> tuple[Tensor, ...]:
    """Losses, outputs, gradient and H ``vector``, of one run."""
    leaves = [p.detach().requires_grad_() for p in params]
    with torch.enable_grad():
        each, outputs = losses(leaves, *data)
        grads = torch.autograd.grad(
            each.mean(), leaves, create_graph=True, materialize_grads=True)
        parts = vector.split([p.numel() for p in leaves])
        pairs = [(g, v.view(p.shape)) for g, v, p in zip(grads, parts, leaves, strict=True)
                 if g.requires_grad]
        back = [torch.zeros_like(p) for p in leaves]
        if pairs:  # else the losses are linear in the parameters
            curved, weights = zip(*pairs, strict=True)
            back = torch.autograd.grad(curved, leaves, weights, materialize_grads=True)
    return each.detach(), outputs.detach(), _joined(grads), _joined(back)


def _check(found: Split, joint: Callable[..., tuple[Tensor, ...]], params: Sequence[Tensor],
           data: Sequence[Tensor], vector: Tensor) -> None:
    """Untraceable where the graphs do not do at other parameters what the function does."""
    try:
        with torch.no_grad():
            *values, kept = found.base(*params, *data)
            ours = [*values, found.tangent(*kept, vector)]
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise Untraceable(str(error)) from error
    for mine, true in zip(ours, joint(*params, *data, vector), strict=True):
        if not (mine - true).norm() <= 1e-3 * true.norm() and true.isfinite().all():
            raise Untraceable("the graph of the model does not hold for other parameters")


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in parts])


class Tangents:
    """The mean loss L_r(θ_r) of each run: gradient, and products with its Hessian, run by run.

    ``params`` name -> (R, …), in the order of the split's parameters; ``data`` one tuple a run.
    Runs of equal parameters and data are computed once, and a zero vector costs nothing. What a
    run gets depends on nothing else in the block. Memory: what a gradient's graph keeps, twice.
    """

    def __init__(self, split: Split, params: Tensors, data: Sequence[Sequence[Tensor]]):
        self._tangent, self._kept = split.tangent, {}
        runs = len(data)
        # Each run's own copies begin at whole cache lines: matrix kernels round by alignment.
        inputs = [(*(p[r].clone() for p in params.values()), *data[r]) for r in range(runs)]
        self._first = [next(q for q in range(r + 1) if _equal(inputs[q], inputs[r]))
                       for r in range(runs)]
        found: dict[int, tuple[Tensor, ...]] = {}
        with torch.no_grad():
            for r in sorted(set(self._first)):
                *found[r], kept = split.base(*inputs[r])
                self._kept[r] = kept
        self.losses, self.outputs, self.gradient = (
            torch.stack([found[r][i].detach() for r in self._first]) for i in range(3))

    @torch.no_grad()
    def product(self, vectors: Tensor) -> Tensor:
        """(R, P) vectors v_r to (R, P) products H_r v_r."""
        out, rows = torch.zeros_like(vectors, memory_format=torch.contiguous_format), []
        for r, first in enumerate(self._first):
            row = vectors[r].clone()
            rows.append(row)
            if first != r and torch.equal(row, rows[first]):
                out[r] = out[first]
            elif row.any():
                out[r] = self._tangent(*self._kept[first], row)
        return out


def _equal(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(s is t or torch.equal(s, t) for s, t in zip(a, b, strict=True))


def _parted(traced: fx.GraphModule) -> Split:
    """Cuts the graph between what depends on its last input and what does not."""
    nodes = list(traced.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    moving = {inputs[-1]}
    for node in nodes:
        if node.op == "call_function" and moving.intersection(node.all_input_nodes):
            moving.add(node)
    *values, product = nodes[-1].args[0]
    used = [a for n in nodes if n in moving for a in n.all_input_nodes] + [product]
    kept = [n for n in dict.fromkeys(used) if n not in moving]
    base, copied = fx.Graph(), {}
    for node in nodes[:-1]:
        if node not in moving and node is not inputs[-1]:
            copied[node] = base.node_copy(node, copied.__getitem__)
    base.output((*(copied[v] for v in values), [copied[k] for k in kept]))
    tangent, copied = fx.Graph(), {}
    for i, node in enumerate([*kept, inputs[-1]]):
        copied[node] = tangent.placeholder(f"input_{i}")
    for node in nodes[:-1]:
        if node in moving and node.op == "call_function":
            copied[node] = tangent.node_copy(node, copied.__getitem__)
    tangent.output(copied[product])
    return Split(_module(base, traced), _module(tangent, traced))


def _module(graph: fx.Graph, constants: fx.GraphModule) -> fx.GraphModule:
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        result = _accumulated(graph, node)
        if result is not None:
            _replace(graph, node, result)
    graph.eliminate_dead_code()  # the products that were fused
    graph.lint()
    return fx.GraphModule(constants, graph)


def _replace(graph: fx.Graph, node: fx.Node, by: fx.Node) -> None:
    by.meta.setdefault("val", node.meta.get("val"))
    node.replace_all_uses_with(by)
    graph.erase_node(node)


def _simplify(graph: fx.Graph) -> None:
    """Leaves out what does nothing, and takes from the host what the base can know."""
    for node in list(graph.nodes):
        same = _same(node) or _known_softmax(graph, node) or _narrow(graph, node)
        if same is not None:
            _replace(graph, node, same)
        elif node.target is aten.view.default:  # what it views may now lie otherwise
            node.target = aten.reshape.default
    graph.eliminate_dead_code()


def _same(node: fx.Node) -> fx.Node | None:
    """An earlier node with the same value."""
    if node.target in _PASSED_ON:
        return node.args[0]
    if node.target is aten.t.default and node.args[0].target is aten.t.default:
        return node.args[0].args[0]
    if node.target is aten.add.Tensor and not node.kwargs:
        for zero, other in (node.args, node.args[::-1]):
            if getattr(zero, "target", None) in _ZEROS and _shape(other) == _shape(node):
                return other
    return None


def _known_softmax(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """g − p Σ g for the backward of log-softmax: its p = exp(log p) is the same for all vectors."""
    if node.target is not aten._log_softmax_backward_data.default:
        return None
    g, logarithm, dim, _ = node.args
    with graph.inserting_before(node):
        p = graph.call_function(aten.exp.default, (logarithm,))
        total = graph.call_function(aten.sum.dim_IntList, (g, [dim], True))
        part = graph.call_function(aten.mul.Tensor, (p, total))
        return graph.call_function(aten.sub.Tensor, (g, part))


def _narrow(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """a b as (bᵀ aᵀ)ᵀ where b has few columns: on a CPU in less than half the time."""
    if node.target is not aten.mm.default or not _shape(node)[1] < NARROW < _shape(node)[0]:
        return None
    with graph.inserting_before(node):
        turned = [graph.call_function(aten.t.default, (a,)) for a in node.args]
        product = graph.call_function(aten.mm.default, tuple(turned[::-1]))
        return graph.call_function(aten.t.default, (product,))


def _accumulated(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """x + a b as one kernel, in x where nobody else has a use for it."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return None
    for x, product in (node.args, node.args[::-1]):
        fits = getattr(product, "target", None) is aten.mm.default and len(product.users) == 1
        if fits and x is not product and _is_fresh(x) and _shape(x) == _shape(node) is not None:
            with graph.inserting_before(node):
                return graph.call_function(aten.addmm_.default, (x, *product.args))
    return None


def _is_fresh(node: object) -> bool:
    """Whether it is memory of its own that a single node reads."""
    return getattr(node, "target", None) in _FRESH and len(node.users) == 1


def _shape(node: object) -> tuple[int, ...] | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else None
