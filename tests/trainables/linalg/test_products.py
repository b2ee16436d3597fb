"""Gradients and Hessian products of a block of runs, against dense Hessians of each run alone."""

import pytest
import torch
import torch.nn.functional as F

from trainables.linalg.products import Curvature, flatten, unflatten

RUNS, EXAMPLES = 3, 11


def draw(*shape, seed):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


X, Y = draw(EXAMPLES, 4, seed=0), torch.arange(EXAMPLES) % 3


def network(p, x, y):
    """(n,) losses of one run's small network: curved in all parameters."""
    return F.cross_entropy(torch.tanh(x @ p["a"] + p["b"]) @ p["c"], y, reduction="none")


def partly_linear(p, x, y):
    """Linear in a, quadratic in b: a's gradient carries no graph."""
    return (x @ p["a"]).sum(1) + (x[:, :1] * p["b"]).square().sum(1)


def linear(p, x, y):
    return (x @ p["a"]).sum(1)


def unused(p, x, y):
    """c and b do not enter at all."""
    return F.cross_entropy(torch.tanh(x @ p["a"]), y, reduction="none")


# (why, the losses of one run, names and shapes of the parameters)
LOSSES = [
    ("a network", network, {"a": (4, 5), "b": (5,), "c": (5, 3)}),
    ("linear in some parameters", partly_linear, {"a": (4, 2), "b": (3,)}),
    ("linear in all: the Hessian is 0", linear, {"a": (4, 2)}),
    ("parameters that do not enter", unused, {"c": (2, 2), "a": (4, 3), "b": ()}),
]


def curvature(losses, params, sizes=(EXAMPLES,)):
    def loss_sums(p, chunk):
        return torch.stack([
            losses({n: t[r] for n, t in p.items()}, X[chunk], Y[chunk]).sum()
            for r in range(RUNS)])

    return Curvature(loss_sums, params, torch.arange(EXAMPLES).split(list(sizes)), EXAMPLES)


def dense(losses, params, r):
    """The r-th run's Hessian and gradient, (P, P) and (P,)."""
    like = {n: t[r : r + 1] for n, t in params.items()}

    def mean(flat):
        p = {n: t[0] for n, t in unflatten(flat[None], like).items()}
        return losses(p, X, Y).mean()

    flat = flatten(like)[0]
    hessian = torch.autograd.functional.hessian(mean, flat)
    return hessian, torch.autograd.functional.jacobian(mean, flat)


@pytest.mark.parametrize("sizes", [(EXAMPLES,), (4, 4, 3)], ids=["one chunk", "three chunks"])
@pytest.mark.parametrize(("why", "losses", "shapes"), LOSSES, ids=[c[0] for c in LOSSES])
def test_products_are_the_dense_hessians(why, losses, shapes, sizes):
    params = {n: draw(RUNS, *s, seed=i) for i, (n, s) in enumerate(shapes.items())}
    ours = curvature(losses, params, sizes)
    dim = ours.gradient.shape[1]
    columns = torch.stack([
        ours.product(e.expand(RUNS, dim)) for e in torch.eye(dim, dtype=torch.float64)], dim=2)
    for r in range(RUNS):
        hessian, gradient = dense(losses, params, r)
        torch.testing.assert_close(columns[r], hessian, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(ours.gradient[r], gradient, rtol=1e-12, atol=1e-13)


def network_curvature(sizes=(EXAMPLES,)):
    shapes = LOSSES[0][2]
    params = {n: draw(RUNS, *s, seed=i) for i, (n, s) in enumerate(shapes.items())}
    return curvature(network, params, sizes), params


def test_linear_and_symmetric():
    ours, _ = network_curvature()
    u, v = (draw(RUNS, ours.gradient.shape[1], seed=s) for s in (5, 6))
    hu, hv = ours.product(u), ours.product(v)
    torch.testing.assert_close(ours.product(2 * u - 3 * v), 2 * hu - 3 * hv, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close((u * hv).sum(1), (v * hu).sum(1), rtol=1e-12, atol=1e-13)
    assert hu.abs().min(dim=1)[0].max() > 0


def test_runs_do_not_meet():
    """A vector in one run gives exactly nothing in the others."""
    ours, _ = network_curvature()
    v = torch.zeros_like(ours.gradient)
    v[1] = draw(v.shape[1], seed=4)
    product = ours.product(v)
    assert product[1].abs().min() > 0
    assert not product[[0, 2]].any()


def test_products_repeat_and_keep_the_parameters():
    """The graph is retained: the n-th product is bitwise the first."""
    ours, params = network_curvature()
    before = {n: p.clone() for n, p in params.items()}
    v = draw(RUNS, ours.gradient.shape[1], seed=8)
    first = ours.product(v)
    ours.product(2 * v)
    assert torch.equal(ours.product(v), first)
    assert all(torch.equal(params[n], before[n]) for n in params)
    assert not any(p.requires_grad for p in params.values())


def test_flatten_keeps_the_dicts_order_and_unflatten_inverts_it():
    tensors = {"z": draw(2, 3, 4, seed=0), "a": draw(2, seed=1), "m": draw(2, 5, seed=2)}
    flat = flatten(tensors)
    assert flat.shape == (2, 18)
    assert torch.equal(flat[1, :12], tensors["z"][1].flatten())
    assert torch.equal(flat[:, 12], tensors["a"])
    back = unflatten(flat, tensors)
    assert list(back) == list(tensors)
    assert all(torch.equal(back[n], tensors[n]) for n in tensors)
