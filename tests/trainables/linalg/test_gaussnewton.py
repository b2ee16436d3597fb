"""Gauss-Newton products against dense JᵀHJ, in float64."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import probe as probes
from trainables.linalg.gaussnewton import gauss_newton, output_hessian
from trainables.losses import per_example
from trainables.probe import Probe, blocks

MLP = {"name": "mlp", "width": 7, "depth": 2, "activation": "tanh"}


def dense(cfg, data, index):
    """(1/n) Σ JᵀHJ and the Hessian at the run's initial weights, written out."""
    module, (x, y) = fresh_model(cfg, data).eval(), noisy_set(cfg, data)
    names = [n for n, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def outputs(flat):
        parts = flat.split([s.numel() for s in shapes])
        params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(module, params, (x[index],))

    def loss(flat):
        return per_example(cfg["train"]["loss"], outputs(flat), y[index]).mean()

    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    jacobian, out = torch.func.jacrev(outputs)(flat), outputs(flat).detach()
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for i, j in enumerate(jacobian):
        inner = torch.func.hessian(
            lambda f, i=i: per_example(cfg["train"]["loss"], f, y[index][i]))(out[i])
        total += j.T @ inner @ j
    return total / len(jacobian), torch.func.hessian(loss)(flat)


# (why, model, options)
CASES = [
    ("cross-entropy", MLP, {}),
    ("mse", MLP, {"loss": "mse"}),
    ("relu, label and input noise", MLP | {"activation": "relu"},
     {"noisy": {"label": 0.5, "input": 0.5}}),
    ("a measurement subset", MLP, {"set_size": 17}),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, {}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "model", "options"), CASES, ids=[c[0] for c in CASES])
def test_products_are_the_dense_ones(why, model, options, engine):
    data = blobs(shape=(1, 8, 8), train=12) if model["name"] == "simple_cnn" else blobs()
    configs = [config(model, seed=s, **options) for s in range(2)]
    pack = pack_of(configs, data, engine=engine)
    for block in blocks(pack):
        probe = Probe(pack, pack.init(), block)
        matrix = gauss_newton(probe)
        v = probe.normals("v", 2)
        for i, r in enumerate(range(block.start, block.stop)):
            exact, hessian = dense(configs[r], data, pack.measure_set)
            assert (exact - hessian).norm() > 0.02 * hessian.norm()  # another matrix than H
            for j in range(2):
                torch.testing.assert_close(
                    matrix.product(v[:, j])[i], exact @ v[i, j], rtol=1e-10, atol=1e-12)


def test_a_linear_models_is_its_hessian():
    data = blobs()
    for loss in ("mse", "cross_entropy"):
        pack = pack_of([config({"name": "linear"}, loss=loss)], data)
        probe = Probe(pack, pack.init(), slice(0, 1))
        v = probe.normals("v", 1)[:, 0]
        torch.testing.assert_close(
            gauss_newton(probe).product(v), probe.curvature.product(v), rtol=1e-11, atol=1e-13)


def test_batch_norm_is_that_of_the_calibration_batch():
    """The same statistics as the Hessian's: with a linear model behind them they agree still."""
    model = {"name": "mlp", "width": 6, "depth": 1, "batch_norm": True}
    pack = pack_of([config(model, loss="mse")], blobs())
    probe = Probe(pack, pack.init(), slice(0, 1))
    matrix, v = gauss_newton(probe), torch.zeros_like(probe.flat)
    last = len(pack.classes * [0]) * (6 + 1)  # the output layer: the model is linear in it
    v[:, -last:] = probe.normals("v", 1)[:, 0, -last:]
    torch.testing.assert_close(matrix.product(v)[:, -last:],
                               probe.curvature.product(v)[:, -last:], rtol=1e-10, atol=1e-12)


def test_chunks_change_nothing(monkeypatch):
    pack = pack_of([config(MLP), config(MLP, seed=1)], blobs())
    v = torch.randn(2, pack.parameters, dtype=torch.float64)
    expected = gauss_newton(Probe(pack, pack.init(), slice(0, 2))).product(v)
    monkeypatch.setattr(probes, "GRAPH_BYTES", 3 * 2 * 9 * probes.graph_bytes(pack))
    parts = gauss_newton(Probe(pack, pack.init(), slice(0, 2)))
    assert len(parts._chunks) == 5
    torch.testing.assert_close(parts.product(v), expected, rtol=1e-12, atol=1e-12)


def test_a_nan_run_harms_no_other():
    pack = pack_of([config(MLP, seed=s) for s in range(3)], blobs())
    v = torch.randn(3, pack.parameters, dtype=torch.float64)
    good = gauss_newton(Probe(pack, pack.init(), slice(0, 3))).product(v)
    state = pack.init()
    for p in state.params.values():
        p[1] = torch.nan
    bad = gauss_newton(Probe(pack, state, slice(0, 3))).product(v)
    assert bad[1].isnan().all()
    assert torch.equal(bad[[0, 2]], good[[0, 2]])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_outputs_part_is_the_losss_hessian(loss):
    source = torch.Generator().manual_seed(0)
    f, a = torch.randn(2, 4, 5, generator=source, dtype=torch.float64).unbind(0)
    y = torch.tensor([0, 4, 2, 1])
    found = output_hessian(loss, f, a)
    for i in range(4):
        def of(g, i=i):
            if loss == "mse":
                return 0.5 * (g - F.one_hot(y[i], 5)).square().sum()
            return F.cross_entropy(g, y[i])

        exact = torch.func.hessian(of)(f[i]) @ a[i]
        torch.testing.assert_close(found[i], exact, rtol=1e-12, atol=1e-14)
