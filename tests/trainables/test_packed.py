"""The packed layers against torch's own, run by run, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from trainables.layers import _replaced
from trainables.packed import packed_form

RUNS, BATCH, SIZE, CLASSES = 3, 5, 8, 4


def statistics_free(features):
    return nn.BatchNorm2d(features, track_running_stats=False)


class Residual(nn.Module):
    """A sum of two branches between packed layers, and slices and padding of channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x) + F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 0, 1)))


def head(*layers, features):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, CLASSES))


NETWORKS = {
    # the usual chain; after ReLU a pool's window often ties at 0
    "plain": lambda: head(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), features=16),
    # every number of the geometry differs by axis
    "geometry": lambda: head(nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2),
                                       dilation=(1, 2)), nn.GELU(), features=3 * 4 * 10),
    # strings for padding are no pairs
    "same": lambda: head(nn.Conv2d(2, 3, 3, padding="same"), nn.SiLU(), features=192),
    # overlapping windows: one maximum serves several
    "overlap": lambda: head(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, stride=2, padding=1),
                            features=27),
    # statistics must be each run's own, also over an input shared by the runs
    "norm": lambda: head(statistics_free(2), nn.Conv2d(2, 3, 3, bias=False), statistics_free(3),
                         nn.ReLU(), features=108),
    # the order of the dimensions is not kept by what is not packed
    "residual": lambda: head(Residual(), nn.MaxPool2d(2), features=12),
}


def pack(name):
    """(plain, packed, params (R, …), x (R, S, …), y): equal weights in both modules."""
    torch.manual_seed(0)
    runs = [NETWORKS[name]().double() for _ in range(RUNS)]
    plain = runs[0]
    packed = _replaced(copy.deepcopy(plain), packed_form)
    params = {n: torch.stack([dict(r.named_parameters())[n].detach() for r in runs])
              for n, _ in plain.named_parameters()}
    x = torch.randn(RUNS, BATCH, 2, SIZE, SIZE, dtype=torch.float64).round(decimals=1)
    return plain, packed, params, x, torch.randint(CLASSES, (RUNS, BATCH))


def own(tree, r):
    return {n: t[r] for n, t in tree.items()}


def losses(module, params, x, y, shared=None):
    """(R,) mean losses by vmap, as the engine takes them."""
    out = vmap(lambda p, x: functional_call(module, p, (x,)), in_dims=(0, shared))(params, x)
    return F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(
        RUNS, BATCH).mean(1)


def derivatives(loss, params, directions):
    """Gradient and the product of the Hessian with ``directions``, of the sum of ``loss``."""
    leaves = [p.detach().requires_grad_() for p in params.values()]
    first = torch.autograd.grad(loss(dict(zip(params, leaves, strict=True))).sum(), leaves,
                                create_graph=True)
    slope = sum((g * v).sum() for g, v in zip(first, directions.values(), strict=True))
    return first, torch.autograd.grad(slope, leaves, materialize_grads=True)


@pytest.mark.parametrize("shared", [None, 0], ids=["shared", "own"])
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_gradients_and_curvature_are_those_of_each_run_alone(name, shared):
    plain, packed, params, x, y = pack(name)
    x = x[0] if shared is None else x
    together = losses(packed, params, x, y, shared)
    directions = {n: torch.randn_like(p) for n, p in params.items()}
    first, second = derivatives(lambda p: losses(packed, p, x, y, shared), params, directions)
    for r in range(RUNS):
        def alone(p, r=r):
            out = functional_call(plain, p, (x if shared is None else x[r],))
            return F.cross_entropy(out, y[r])

        close = {"rtol": 1e-12, "atol": 1e-12}
        torch.testing.assert_close(together[r], alone(own(params, r)), **close)
        theirs = derivatives(alone, own(params, r), own(directions, r))
        for a, b in zip((*first, *second), (*theirs[0], *theirs[1]), strict=True):
            torch.testing.assert_close(a[r], b, **close)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_orders_of_transformations_agree(name):
    """grad and jvp inside the vmap, where the packed layers step aside, and a plain call."""
    plain, packed, params, x, y = pack(name)

    def all_ways(module):
        def loss(p, x, y):
            return F.cross_entropy(functional_call(module, p, (x,)), y)

        def along(p, x, y):
            return jvp(lambda q: loss(q, x, y), (p,), (p,))[1]

        return (vmap(grad(loss))(params, x, y), vmap(along)(params, x, y),
                functional_call(module, own(params, 0), (x[0],)))

    torch.testing.assert_close(all_ways(packed), all_ways(plain), rtol=1e-12, atol=1e-12)


def test_gradients_of_ties_go_where_torch_sends_them():
    """Windows of equal zeros, of equal numbers and with NaN: the position, not only the sum."""
    x = torch.zeros(RUNS, 1, 2, 4, 4, dtype=torch.float64)
    x[1, ..., 2:, :] = 3.0
    x[2, ..., 1, 1] = torch.nan
    x.requires_grad_()
    pool = nn.MaxPool2d(2)
    out = vmap(packed_form(pool))(x)
    weights = torch.arange(1.0, 1 + out.numel(), dtype=x.dtype).view_as(out)
    (mine,) = torch.autograd.grad((out * weights).nansum(), x)
    (theirs,) = torch.autograd.grad((pool(x.flatten(0, 1)).view_as(out) * weights).nansum(), x)
    assert torch.equal(mine, theirs)


def test_a_neighbour_that_is_not_finite_changes_no_bit():
    _, packed, params, x, y = pack("norm")
    before = derivatives(lambda p: losses(packed, p, x, y, 0), params, params)[0]
    for p in params.values():
        p[1] = torch.nan
    after = derivatives(lambda p: losses(packed, p, x, y, 0), params, params)[0]
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


def test_a_traced_step_copies_no_image():
    """What the layers are for: activations and their gradients are nowhere laid out anew."""
    plain, packed, params, x, y = pack("plain")

    def copies(module):
        def step(params, x, y):
            leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
            return torch.autograd.grad(
                losses(module, leaves, x, y, 0).sum(), list(leaves.values()))

        sizes = {RUNS * BATCH * c * s * s for c, s in ((3, 8), (3, 4), (4, 4))}
        return sum(node.target is torch.ops.aten.clone.default
                   and node.meta["val"].numel() in sizes
                   for node in make_fx(step, tracing_mode="fake")(params, x, y).graph.nodes)

    assert copies(plain) > 0
    assert copies(packed) == 0


@pytest.mark.parametrize("layer", [
    pytest.param(nn.Conv2d(2, 2, 3, groups=2), id="groups within a run"),
    pytest.param(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), id="padding by images"),
    pytest.param(nn.MaxPool2d(2, return_indices=True), id="two outputs"),
    pytest.param(nn.BatchNorm2d(2), id="running statistics are written in place"),
    pytest.param(nn.ReLU(inplace=True), id="writes its input"),
    pytest.param(nn.Softmax(dim=1), id="mixes the channels"),
    pytest.param(type("Mine", (nn.Conv2d,), {})(2, 2, 3), id="a subclass may do anything"),
    pytest.param(nn.utils.weight_norm(nn.Conv2d(2, 2, 3)), id="its weight is made by a hook"),
])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_packed_stays(layer):
    assert packed_form(layer) is None


def test_parameters_keep_names_shapes_and_identity():
    plain = NETWORKS["plain"]()
    names = {n: id(p) for n, p in plain.named_parameters()}
    packed = _replaced(plain, packed_form)
    assert {n: id(p) for n, p in packed.named_parameters()} == names
