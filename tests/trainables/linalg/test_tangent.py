"""Products run by run from split graphs, against dense Hessians in float64."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.linalg.test_products import EXAMPLES, LOSSES, RUNS, X, Y, dense, draw
from trainables.linalg.products import unflatten
from trainables.linalg.tangent import Tangents, Untraceable, split

IMAGES = draw(EXAMPLES, 1, 6, 6, seed=9)


def convolutional(p, x, y):
    """Kernels with several results, pooling, and a reshaping."""
    h = torch.tanh(F.conv2d(IMAGES, p["k"], padding=1))
    return F.cross_entropy(F.max_pool2d(h, 2).flatten(1) @ p["w"], y, reduction="none")


def relus(p, x, y):
    """Sums of matrix products that are fused, with zeros between them; softmax known."""
    h = F.relu(F.relu(x @ p["a"] + p["b"]) @ p["c"] + p["d"])
    return F.cross_entropy(h @ p["e"] + p["f"], y, reduction="none")


def squares(p, x, y):
    """A mean of squares, and a parameter that is used twice."""
    return (torch.tanh(x @ p["a"]) @ p["a"].T - x).square().sum(1)


def in_place(p, x, y):
    """Changes in place become pure; so do those within the backward of BatchNorm."""
    h = F.batch_norm((x @ p["a"]).relu_() + 1, X.mean(0)[:3], X.var(0)[:3])
    return F.cross_entropy(h.mul_(2).tanh(), y, reduction="none")


CASES = [
    *LOSSES, ("several results", convolutional, {"k": (2, 1, 3, 3), "w": (18, 3)}),
    ("relus", relus, {"a": (4, 6), "b": (6,), "c": (6, 5), "d": (5,), "e": (5, 3), "f": (3,)}),
    ("used twice", squares, {"a": (4, 3)}), ("in place", in_place, {"a": (4, 3)}),
]
SHAPES = next(shapes for why, _, shapes in CASES if why == "relus")


def tangents(losses, params, data=None):
    def flat(values, x, y):
        each = losses(dict(zip(params, values, strict=True)), x, y)
        return each, each[:, None]

    found = split(flat, [p[0] for p in params.values()], (X, Y))
    return Tangents(found, params, data or [(X, Y)] * len(next(iter(params.values()))))


def random(shapes, runs=RUNS):
    return {n: draw(runs, *s, seed=i) for i, (n, s) in enumerate(shapes.items())}


@pytest.mark.parametrize(("why", "losses", "shapes"), CASES, ids=[c[0] for c in CASES])
def test_products_are_the_dense_hessians(why, losses, shapes):
    """Twice: no product changes what the next one reads."""
    params = random(shapes)
    ours = tangents(losses, params)
    dim = ours.gradient.shape[1]
    for _ in range(2):
        columns = torch.stack([
            ours.product(e.expand(RUNS, dim)) for e in torch.eye(dim, dtype=torch.float64)], dim=2)
        for r in range(RUNS):
            hessian, gradient = dense(losses, params, r)
            torch.testing.assert_close(columns[r], hessian, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(ours.gradient[r], gradient, rtol=1e-12, atol=1e-13)
    row = {n: p[1] for n, p in params.items()}
    torch.testing.assert_close(ours.losses[1], losses(row, X, Y))


def test_a_run_depends_on_nothing_else_in_the_block():
    """Bit for bit, in single precision: alone, in another place, beside its twin or a closed run"""
    params = {n: p.float() for n, p in random(SHAPES).items()}
    x = X.float()
    found = split(lambda v, x, y: (each := relus(dict(zip(params, v, strict=True)), x, y), each),
                  [p[0] for p in params.values()], (x, Y))
    vectors = draw(RUNS, sum(p[0].numel() for p in params.values()), seed=3).float()
    order = torch.tensor([2, 1, 1, 0, 2])
    mixed = Tangents(found, {n: p[order] for n, p in params.items()}, [(x, Y)] * 5)
    asked = vectors[order].clone()
    asked[4] = 0
    products = mixed.product(asked)
    assert not products[4].any()
    for place, r in enumerate(order.tolist()[:4]):
        alone = Tangents(found, {n: p[r : r + 1] for n, p in params.items()}, [(x, Y)])
        assert torch.equal(alone.product(vectors[r : r + 1])[0], products[place])
        assert torch.equal(alone.gradient[0], mixed.gradient[place])


def test_equal_runs_are_computed_once_and_unequal_data_tell_runs_apart():
    params = {n: p[[0, 0, 0]] for n, p in random(SHAPES).items()}
    other = (Y + 1) % 3
    ours = tangents(relus, params, [(X, Y), (X, Y.clone()), (X, other)])
    calls, tangent = [], ours._tangent
    ours._tangent = lambda *a: (calls.append(1), tangent(*a))[1]
    v = draw(ours.gradient.shape[1], seed=5)
    products = ours.product(torch.stack([v, v, v]))
    assert len(calls) == 2
    assert torch.equal(products[0], products[1])
    assert (products[0] - products[2]).norm() > 1e-3 * products[0].norm()
    uneven = ours.product(torch.stack([v, 2 * v, v]))
    torch.testing.assert_close(uneven[1], 2 * products[0])
    hessian, _ = dense(lambda p, x, _: relus(p, x, other), params, 2)
    torch.testing.assert_close(products[2], hessian @ v, rtol=1e-12, atol=1e-13)


def drawing(p, x, y):
    return F.dropout(x @ p["a"], 0.5).square().sum(1)


def branching(p, x, y):
    return (x @ p["a"]).square().sum(1) if p["a"].sum() > 0 else (x @ p["a"]).pow(4).sum(1)


def remembering(p, x, y):
    """A value that escapes tracing."""
    scale = float(p["a"].detach().numpy().sum())
    return scale * (x @ p["a"]).square().sum(1)


@pytest.mark.parametrize("losses", [drawing, branching, remembering])
def test_what_a_graph_would_get_wrong_is_refused(losses):
    """The table's cases are taken by the same function."""
    params = {"a": draw(1, 4, 2, seed=0)}
    params["a"][0, 0] = 5.0
    with pytest.raises(Untraceable):
        tangents(losses, params)


def test_a_vector_is_split_as_parameters_are_flattened():
    params = random({"a": (2, 3), "b": (4,)}, 1)
    ours = tangents(lambda p, x, _: x.sum() * p["b"].square().sum() * p["a"].sum() + 0 * x[:, 0],
                    params)
    v = draw(1, 10, seed=4)
    parts = {n: t[0] for n, t in unflatten(v, params).items()}
    b, s = params["b"][0], X.sum()
    expected = torch.cat([
        (2 * s * (b @ parts["b"])).expand(6),
        2 * s * (params["a"].sum() * parts["b"] + parts["a"].sum() * b)])
    torch.testing.assert_close(ours.product(v)[0], expected)
