"""What a snapshot measures, in float64 against dense Hessians and closed forms."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import probe as probes
from trainables.monitors import spectrum
from trainables.probe import Probe, blocks

MLP = {"name": "mlp", "width": 7, "depth": 2, "activation": "tanh"}
MONITORS = [("spectrum", {"k": 5, "lambda_min": True, "trace": True, "tolerance": 1e-9,
                          "max_products": 400})]
OPTIONS = MONITORS[0][1]


def dense_hessian(cfg, data, index):
    """The whole Hessian of the run's mean loss at its initial weights."""
    module, (x, y) = fresh_model(cfg, data).eval(), noisy_set(cfg, data)
    names = [n for n, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def loss(flat):
        parts = flat.split([s.numel() for s in shapes])
        params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        out = torch.func.functional_call(module, params, (x[index],))
        if cfg["train"]["loss"] == "mse":
            return 0.5 * (out - F.one_hot(y[index], out.shape[1])).square().sum(1).mean()
        return F.cross_entropy(out, y[index])

    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    return torch.func.hessian(loss)(flat), torch.func.grad(loss)(flat)


# (why, model, options)
CASES = [
    ("cross-entropy", MLP, {}),
    ("mse", MLP, {"loss": "mse"}),
    ("label noise is measured", MLP, {"noisy": {"label": 0.5}}),
    ("input noise is measured", MLP, {"noisy": {"input": 0.5}}),
    ("relu", MLP | {"activation": "relu"}, {}),
    ("a measurement subset", MLP, {"set_size": 17}),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, {}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "model", "options"), CASES, ids=[c[0] for c in CASES])
def test_spectrum_gradient_and_trace_are_the_dense_ones(why, model, options, engine):
    data = blobs(shape=(1, 8, 8), train=24) if model["name"] == "simple_cnn" else blobs()
    configs = [config(model, seed=s, monitors=MONITORS, **options) for s in range(2)]
    pack = pack_of(configs, data, engine=engine)
    for block in blocks(pack):
        probe = Probe(pack, pack.init(), block)
        found = spectrum.measure(probe, OPTIONS)
        for i, r in enumerate(range(block.start, block.stop)):
            hessian, gradient = dense_hessian(configs[r], data, pack.measure_set)
            values = torch.linalg.eigvalsh(hessian).flip(0)
            scale = values[0].item()
            torch.testing.assert_close(probe.gradient[i], gradient, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(found["hessian"][i], values[:5], rtol=0, atol=1e-6 * scale)
            assert found["hessian_lambda_max"][i] == pytest.approx(scale, rel=1e-6)
            smallest = pytest.approx(values[-1].item(), abs=1e-6 * scale)
            assert found["hessian_lambda_min"][i] == smallest
            error = abs(found["hessian_trace"][i] - hessian.trace()).item()
            assert error <= 4 * found["hessian_trace_se"][i].item() + 1e-9 * scale


def test_linear_model_with_mse_has_the_closed_form():
    """H = (1/n) Σ x̃ x̃ᵀ ⊗ I_C with x̃ = (x, 1), whatever the weights."""
    data = blobs()
    pack = pack_of([config({"name": "linear"}, loss="mse", monitors=MONITORS)], data)
    x = torch.tensor(data.x_train, dtype=torch.float64)
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    values = torch.linalg.eigvalsh(x.T @ x / len(x)).flip(0)
    found = spectrum.measure(Probe(pack, pack.init(), slice(0, 1)), OPTIONS)
    assert found["hessian_lambda_max"].item() == pytest.approx(values[0].item(), rel=1e-9)
    error = abs(found["hessian_trace"].item() - 3 * values.sum().item())
    assert error <= 4 * found["hessian_trace_se"].item() + 1e-9


def test_chunks_change_nothing(monkeypatch):
    pack = pack_of([config(MLP), config(MLP, seed=1)], blobs())
    v = torch.randn(2, pack.parameters, dtype=torch.float64)
    whole = Probe(pack, pack.init(), slice(0, 2))
    expected = whole.curvature.product(v), whole.gradient
    monkeypatch.setattr(probes, "GRAPH_BYTES", 3 * 2 * 9 * probes.graph_bytes(pack))
    monkeypatch.setattr(probes, "EVALUATION_BYTES", 2 * 9 * probes.graph_bytes(pack))
    parts = Probe(pack, pack.init(), slice(0, 2))
    assert len(parts.curvature._chunks) == 5
    torch.testing.assert_close(parts.curvature.product(v), expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.gradient, expected[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.evaluate_train()[0], whole.evaluate_train()[0])


def test_losses_and_accuracies_are_of_the_whole_sets():
    data, cfg = blobs(), config(MLP, seed=4, noisy={"label": 0.3})
    module, (x, y) = fresh_model(cfg, data), noisy_set(cfg, data)
    probe = Probe(pack_of([cfg], data), pack_of([cfg], data).init(), slice(0, 1))
    loss, accuracy = probe.evaluate_train()
    out = module(x)
    assert loss.item() == pytest.approx(F.cross_entropy(out, y).item(), rel=1e-12)
    assert accuracy.item() == (out.argmax(1) == y).double().mean().item()
    test_x = torch.tensor(data.x_test, dtype=torch.float64)
    clean = F.cross_entropy(module(test_x), torch.tensor(data.y_test)).item()
    assert probe.evaluate_test()[0].item() == pytest.approx(clean, rel=1e-12)


def test_batch_norm_is_measured_with_the_calibration_batchs_statistics():
    data, model = blobs(), {"name": "mlp", "width": 6, "depth": 1, "batch_norm": True}
    cfg = config(model)
    pack = pack_of([cfg], data)
    probe = Probe(pack, pack.init(), slice(0, 1))
    module = fresh_model(cfg, data).train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = 1.0
    x = torch.tensor(data.x_train, dtype=torch.float64)
    module(x[pack.calibration_set])
    expected = F.cross_entropy(module.eval()(x), torch.tensor(data.y_train)).item()
    assert probe.evaluate_train()[0].item() == pytest.approx(expected, rel=1e-12)


def test_gradient_equivalents_are_counted_from_what_was_computed():
    options = {**OPTIONS, "tolerance": 1e-3}
    pack = pack_of([config(MLP, set_size=20, monitors=[("spectrum", options)])], blobs())
    probe = Probe(pack, pack.init(), slice(0, 1))
    probe.evaluate_train()
    assert probe.ge.item() == pytest.approx(40 / 20 / 3)
    _ = probe.gradient
    _ = probe.gradient
    assert probe.ge.item() == pytest.approx(40 / 20 / 3 + 1)
    found = spectrum.measure(probe, options)
    assert probe.ge.item() == pytest.approx(40 / 20 / 3 + 1 + 2 * found["hessian_products"].item())
